"""Teachers: write exam questions about passages, by a model behind a server, from a file, or by rule."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["ask_rounds", "expected_cost", "from_settings", "server_from_settings"],
        "cache": ["ReplyCache"],
        "prompts": ["measure_style", "requests_for"],
    },
)
