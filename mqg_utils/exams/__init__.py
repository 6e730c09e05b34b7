"""Exams: files of any format as chains, their splits, and what they share with books and questions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "convert": ["read_exam"],
        "splits": ["assign_splits", "taught_in"],
        "contamination": ["Exam", "find_overlap", "refuse_leaks"],
    },
)
