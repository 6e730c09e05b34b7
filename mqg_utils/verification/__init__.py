"""Verification: which generated questions are kept, and which of them reviewers approve."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checks": ["round_trip", "verify"],
        "review": ["ReviewSet", "approved", "reviews_file"],
    },
)
