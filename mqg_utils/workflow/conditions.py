"""The conditions of the ablation: what the student of each has read and learned."""

from typing import NamedTuple

from mqg_utils.workflow.parameters import ParameterError

HUMAN = "human:"  # begins the condition of a person, who has the history `predicted` only


class Condition(NamedTuple):
    """One row of the ablation. Without any flag, nothing is trained (`zero-shot`, `server`, a person)."""

    name: str
    from_books: bool = False  # reads the passages: in stage 02, or with the questions in stage 04
    learns_questions: bool = False  # learns the generated questions
    learns_exam: bool = False  # learns the exam's train split
    open_book: bool = False  # reads passages before each question
    is_server: bool = False  # a chat model behind an API

    def starts_from_pretrained(self, order: str) -> bool:
        """Whether fine-tuning starts from the student of stage 02, for an `order` of reading and asking."""
        return self.from_books and (order == "book-first" or not self.learns_questions)


PAPER = (
    Condition("zero-shot"),
    Condition("base", learns_exam=True),
    Condition("books", from_books=True, learns_exam=True),
    Condition("questions", learns_questions=True, learns_exam=True),
    Condition("books+questions", from_books=True, learns_questions=True, learns_exam=True),
)
OTHERS = (Condition("open-book", learns_exam=True, open_book=True), Condition("server", is_server=True))
CONDITIONS = {condition.name: condition for condition in PAPER + OTHERS}


def condition_named(name: str) -> Condition:
    """The condition of this name; a person's (`human:anna`) has no flag. Raises ParameterError for an unknown one."""
    if name not in CONDITIONS and not name.startswith(HUMAN):
        raise ParameterError(f"unknown condition {name!r}; expected one of {', '.join(CONDITIONS)}, {HUMAN}<name>")
    return CONDITIONS.get(name, Condition(name))


def is_human(name: str) -> bool:
    """Whether a condition is a person: `human:anna`, in a report on several runs `run: human:anna`."""
    return HUMAN in name
