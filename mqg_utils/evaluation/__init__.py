"""Evaluation: students and chat models sit the exam, and a student's knowledge is traced beyond it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "decision": ["Examinee"],
        "examination": ["examine"],
        "chat": ["examine_chat"],
        "transfer": ["answer_sets", "question_sets"],
    },
)
