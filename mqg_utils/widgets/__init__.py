"""Widgets for notebooks: explore cases, passages and trainings, ask a model, review questions, take the exam."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ask_model": ["ModelAsker"],
        "case_explorer": ["CaseExplorer"],
        "exam_room": ["ExamRoom"],
        "passage_browser": ["PassageBrowser"],
        "review_desk": ["ReviewDesk"],
        "training_curves": ["LiveCurves", "TrainingCurves", "reading_bar"],
    },
)
