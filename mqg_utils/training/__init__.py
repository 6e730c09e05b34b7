"""Training: continued pretraining on passages, fine-tuning on propositions, and the choice of a readout."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "settings": ["Settings"],
        "launch": ["Launcher"],
        "objectives": ["replayed"],
        "train": ["hold_back", "perplexity"],
        "readout": ["choose_readout"],
    },
)
