"""Evaluation: students and chat models sit the exam, in every history, and answer again where one looks closer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "decision": ["Examinee"],
        "scoring": ["scored_by"],
        "examination": ["examine"],
        "chat": ["examine_chat"],
        "transfer": ["answer_sets", "question_sets"],
    },
)
