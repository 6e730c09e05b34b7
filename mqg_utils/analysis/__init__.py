"""What the predictions of a run say: scores with intervals, and runs and training curves read from their folders."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "comparison": ["score_rows"],
        "curves": ["run_folders"],
        "results": ["inputs", "read_run", "runs_in"],
    },
)
