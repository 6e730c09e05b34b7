"""Texts: words, quantities, near-duplicates and search."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"search": ["open_book"]})
