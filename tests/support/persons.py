"""A small run made by hand: three passages, generated questions about them, and an exam."""

from pathlib import Path
from typing import Any

import simulated

from mqg_utils.records import Chain, Passage, write_jsonl

HOSTILE = "<img src=x onerror=\"document.title='ran'\"> & $x$ **bold**"
TEXTS = {
    "quellor": "The quellor stores fluid below the diaphragm. A healthy quellor weighs 40 g. The drathe is its spongy "
    "middle layer. Fluid leaves the quellor through the sutrix.",
    "fever": "Quellor fever begins with a cough. It is treated with 5 mg of brastin a day. Untreated, it lasts for two "
    "weeks. Children recover faster than adults.",
    "stone": "Quellor stones are rare before the age of 50. They block the sutrix. The pain is felt in the left side. "
    "Drinking water prevents new stones.",
}
PROPOSITIONS: dict[str, list[tuple[str, bool, str]]] = {  # passage -> propositions with their key and quote
    "quellor": [
        ("The quellor stores fluid.", True, "The quellor stores fluid below the diaphragm."),
        ("A healthy quellor weighs 40 g.", True, "A healthy quellor weighs 40 g."),
        ("The drathe is the outer layer.", False, "The drathe is its spongy middle layer."),
        ("The quellor lies above the heart.", False, "stores fluid below the diaphragm"),
        ("Fluid leaves through the sutrix.", True, "Fluid leaves the quellor through the sutrix."),
    ],
    "fever": [
        ("The fever begins with a cough.", True, "Quellor fever begins with a cough."),
        ("Brastin is given at 5 mg a day.", True, "It is treated with 5 mg of brastin a day."),
        ("Without treatment it lasts two weeks.", True, "Untreated, it lasts for two weeks."),
        ("Adults recover faster than children do.", False, "Children recover faster than adults."),
        ("It begins with a rash.", False, "Quellor fever begins with a cough."),
    ],
    "stone": [
        ("Stones are rare before 50.", True, "Quellor stones are rare before the age of 50."),
        ("Stones block the sutrix.", True, "They block the sutrix."),
        ("The pain is on the right side.", False, "The pain is felt in the left side."),
        ("Water prevents new stones.", True, "Drinking water prevents new stones."),
        ("Children have them most often.", False, "Quellor stones are rare before the age of 50."),
    ],
}


def generated(passage: str, stem: str = "", text: str = "") -> Chain:
    """A chain of one question about a passage; `stem` and `text` stand in for its own."""
    propositions = [
        {"text": text if text and i == 0 else statement, "is_true": true, "quote": quote, "passage_id": passage}
        for i, (statement, true, quote) in enumerate(PROPOSITIONS[passage])
    ]
    question = {"question_id": f"{passage}|1-1", "stem": stem or f"What holds for the {passage}?"}
    questions = [{**question, "propositions": propositions}]
    return Chain.model_validate(
        {"chain_id": f"{passage}|1", "language": "en", "split": "train", "questions": questions}
    )


QUESTIONS = [generated("quellor"), generated("fever", f"Which are true of the fever? {HOSTILE}"), generated("stone")]


def asked(stem: str, *texts: str, true: tuple[int, ...], name: str, kind: str = "multiple") -> dict[str, Any]:
    propositions = [{"text": text, "is_true": i in true} for i, text in enumerate(texts)]
    return {"question_id": name, "stem": stem, "kind": kind, "propositions": propositions}


FIRST = asked("Which organ is likely?", "The quellor", f"The heart {HOSTILE}", true=(0,), name="case-1", kind="single")
SECOND = asked("Imaging shows a stone. What helps?", "Water", "Brastin", "Rest", true=(0, 2), name="case-2")
CASE = {"chain_id": "case", "split": "test", "language": "en", "vignette": "A woman of 60 has pain in her left side."}
EXAM = [Chain.model_validate({**CASE, "questions": [FIRST, SECOND]})]


def make_run(folder: Path, questions: list[Chain] | None = None, exam: list[Chain] | None = None) -> Path:
    """Write the run's stages 01, 03 and 05 (the condition `base`), each complete."""
    exam = EXAM if exam is None else exam
    passages = [Passage(passage_id=name, book="Handbook", section=(name,), text=text) for name, text in TEXTS.items()]
    write_jsonl(folder / "01_corpus" / "passages.jsonl", passages)
    write_jsonl(folder / "01_corpus" / "exam.jsonl", exam)
    write_jsonl(folder / "03_generate" / "questions.jsonl", QUESTIONS if questions is None else questions)
    write_jsonl(folder / "05_evaluate" / "base" / "predictions.jsonl", simulated.predictions(exam, "base"))
    simulated.seal(folder, "01_corpus", seconds=1.0)
    simulated.seal(folder, "03_generate", seconds=1.0)
    simulated.seal(folder, "05_evaluate", "base", seconds=1.0, condition="base", seed=0)
    return folder


DESK = ".mqg-keybox"
READY = (
    "before => { const ready = document.querySelector('.mqg-keybox').dataset.ready; return ready && ready !== before; }"
)


def begin(notebook: Any, person: str = "anna", cases: int = 0) -> Any:
    """Run All, give a name in the box, and wait until it takes keys; the page."""
    notebook.run_all()
    page = notebook.page
    page.set_default_timeout(90_000)  # a machine may be busy; nothing is judged by its speed
    page.get_by_label("Your name").fill(person)
    if cases:
        page.get_by_role("spinbutton", name="Cases").fill(str(cases))
    page.get_by_role("button", name="Begin").click()
    page.locator(f"{DESK} .stem").wait_for()
    page.wait_for_function(READY, arg="", polling=100)
    page.locator(f"{DESK}:focus-within").wait_for()
    return page


def press(page: Any, key: str, then: str, renews: bool = True) -> None:
    """Press a key and wait for what it shows, as a person does, and until the desk takes the next key."""
    before = page.locator(DESK).get_attribute("data-ready")
    page.keyboard.press(key)
    page.locator(DESK, has_text=then).wait_for()
    if renews:
        page.wait_for_function(READY, arg=before, polling=100)
