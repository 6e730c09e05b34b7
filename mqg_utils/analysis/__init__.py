"""What the predictions of a run say: scores with intervals, and everything that its stages wrote, checked."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"comparison": ["score_rows"], "results": ["inputs", "read_run"]}
)
