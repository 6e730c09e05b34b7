"""Student models: load one, save it, and prepare the process it runs in."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"loading": ["load", "load_tokenizer", "save", "set_up"], "tiny": ["train_tokenizer"]}
)
