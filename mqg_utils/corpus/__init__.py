"""Textbooks: read them in any format, cut them into passages, and merge what two books both say."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "library": ["Library", "read_textbook", "select_chapters"],
        "passages": ["split_passages", "without_near_duplicates"],
    },
)
