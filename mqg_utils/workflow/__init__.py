"""A run: its stages, conditions, files and paths; what a notebook needs to be a stage."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "conditions": ["condition_named"],
        "manifest": ["hardware"],
        "paths": ["PACKAGE", "locate", "project_root"],
        "stage": ["TINY", "Stage"],
    },
)
