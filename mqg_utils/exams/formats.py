"""Layouts of public exams: which field of a row says what."""

import string
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# what a question needs, and the names that public exams give to it, the likeliest first
ROLES: dict[str, tuple[str, ...]] = {
    "id": ("question_id", "id", "number", "qid", "uid", "numero", "numéro", "no"),
    "chain": ("chain_id", "case_id", "dossier_id", "dossier", "dp_id", "cas_id", "group"),
    "position": ("position", "question_number", "rank", "order", "rang"),
    "case": ("case", "vignette", "clinical_case", "cas_clinique", "context", "contexte", "énoncé", "enonce"),
    "questions": ("questions",),
    "stem": ("question", "stem", "case_and_question", "question_text", "intitulé", "intitule", "sent1"),
    "options": ("options", "choices", "propositions", "answers", "items", "réponses", "reponses"),
    "answer": ("correct_answers", "correct_options", "answer_idx", "answer", "answer_letters", "cop", "correct",
               "answer_key", "label", "key", "gold", "bonnes_réponses", "bonnes_reponses", "correction"),
    "text": ("text", "proposition", "option", "content", "statement"),
    "is_true": ("is_true", "is_correct", "correct", "truth", "valid", "value", "answer"),
    "explanation": ("explanation", "exp", "rationale", "comment", "commentaire", "explication"),
    "kind": ("kind", "type", "question_type", "choice_type"),
    "split": ("split",),
    "language": ("language", "lang", "langue"),
    "source": ("source", "subject_name", "subject", "topic_name", "specialty", "spécialité"),
    "image": ("has_image", "needs_image", "image", "images", "picture", "img"),
}  # fmt: skip
COLUMNS = (
    "{}",
    "op{}",
    "option_{}",
    "option{}",
    "choice_{}",
    "choice{}",
    "proposition_{}",
    "answer_{}",
    "ending{}",
    "option {}",
    "choice {}",
    "proposition {}",
    "réponse {}",
    "reponse {}",
    "réponse_{}",
    "reponse_{}",
)
KINDS = {
    "qrm": "multiple", "multiple": "multiple", "multi": "multiple", "qcm": "multiple", "qru": "single",
    "single": "single", "simple": "single", "unique": "single", "qrp": "fixed", "qrpl": "fixed", "fixed": "fixed",
}  # fmt: skip


class Layout(NamedTuple):
    """A public format: the fields that tell it, what they mean, and how its key counts."""

    name: str
    tells: frozenset[str]  # fields that a file of this format has
    fields: Mapping[str, str]  # role -> field
    # of a question, where no field says: "single", "multiple", "fixed" for several true ones, "" where the file decides
    kind: str
    base: int | None = None  # number of the first option in a key of numbers; None where the file decides
    language: str = ""


LAYOUTS = (
    Layout(
        "openstax", frozenset({"module", "question", "options", "answer"}),
        {"id": "id", "stem": "question", "options": "options", "answer": "answer", "source": "module"},
        "single", None, "en",
    ),
    Layout(
        "igakuqa119", frozenset({"case", "questions"}),
        {"chain": "chain_id", "case": "case", "questions": "questions", "id": "number", "stem": "question",
         "options": "choices", "answer": "answer", "image": "has_image"},
        "fixed", None, "ja",
    ),
    Layout(
        "casimedicos", frozenset({"case_and_question", "options", "answer"}),
        {"stem": "case_and_question", "options": "options", "answer": "answer", "explanation": "explanation",
         "split": "split", "source": "type"},
        "single", 1,
    ),
    Layout(
        "frenchmedmcqa", frozenset({"question", "answers", "correct_answers"}),
        {"id": "id", "stem": "question", "options": "answers", "answer": "correct_answers", "source": "subject_name",
         "kind": "type"},
        "multiple", None, "fr",
    ),
    Layout(
        "medmcqa", frozenset({"question", "opa", "opb", "opc", "opd", "cop"}),
        {"id": "id", "stem": "question", "answer": "cop", "explanation": "exp", "source": "subject_name"},
        "single", None, "en",
    ),
    Layout(
        "medqa", frozenset({"question", "options", "answer_idx"}),
        {"stem": "question", "options": "options", "answer": "answer_idx", "source": "meta_info"}, "single", None, "en",
    ),
    Layout(
        "mmlu", frozenset({"question", "choices", "answer"}),
        {"id": "id", "stem": "question", "options": "choices", "answer": "answer", "source": "subject"},
        "single", 0, "en",
    ),
    Layout("ecnqa", frozenset(), {}, "multiple", None, "fr"),
    Layout("table", frozenset(), {}, "", None),
)  # fmt: skip


class Fields(NamedTuple):
    """Which field of a row plays which role, and the columns that hold one option each."""

    of: dict[str, str]
    columns: tuple[tuple[str, str], ...]  # (letter, column)


def find_fields(names: Iterable[str], given: Mapping[str, str], guess: bool) -> Fields:
    """The roles of a file's fields: those given, then, with `guess`, those its names suggest.

    The options may be given as several columns with commas between them.
    """
    found = dict(given)
    folded = {name.casefold().strip(): name for name in names}
    columns = option_columns(folded)
    parts = [part.strip() for part in found.get("options", "").split(",")]
    if len(parts) > 1 and set(parts) <= set(folded.values()):
        del found["options"]
        columns = tuple(zip(string.ascii_lowercase, parts, strict=False))
    taken = set(found.values())
    for role, known in ROLES.items() if guess else ():
        if role not in found and role not in ("text", "is_true"):
            name = next((folded[k] for k in known if k in folded and folded[k] not in taken), "")
            if name:
                found[role] = name
                taken.add(name)
    return Fields(found, columns if "options" not in found else ())


def option_columns(folded: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The columns a, b, c … of a table, however they are called: (letter, column)."""
    for form in COLUMNS:
        for signs in (string.ascii_lowercase, [str(n) for n in range(1, 27)], [str(n) for n in range(26)]):
            names = [form.format(sign) for sign in signs]
            n = next((i for i, name in enumerate(names) if name not in folded), len(names))
            if n >= 2:
                return tuple((string.ascii_lowercase[i], folded[name]) for i, name in enumerate(names[:n]))
    return ()
