"""The report on a run: findings, their figures and tables, and one page to share; tables and charts for notebooks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "figures": ["bars", "histogram", "intervals", "reliability", "table"],
        "findings": ["Findings"],
        "write": ["show", "write_report"],
    },
)
