"""Requests: prompts, measured style, examples, and the stems of earlier rounds."""

import json
from typing import Any

from mqg_utils.records import Chain, Passage
from mqg_utils.teacher.prompts import DEFAULT_STYLE, measure_style, reading_request, requests_for


def passage(name: str = "p1", language: str = "en") -> Passage:
    section = ("Fluids", "Zelmure")
    return Passage(passage_id=name, book="B", section=section, text="Zelmure is green.", language=language)


def chain(questions: int = 1, truths: str = "tf", kind: str = "multiple", case: str = "") -> Chain:
    propositions = [{"text": f"one two {i}", "is_true": t == "t"} for i, t in enumerate(truths)]
    question = {"stem": "Which is it?", "kind": kind, "propositions": propositions}
    listed = [{"question_id": f"q{i}", **question} for i in range(questions)]
    return Chain.model_validate({"chain_id": "e1", "vignette": case, "language": "en", "questions": listed})


def texts(language: str = "en", **settings: Any) -> tuple[str, str]:
    (request,) = requests_for([passage(language=language)], **settings)
    system, user = request.messages
    assert (system["role"], user["role"]) == ("system", "user")
    return system["content"], user["content"]


def test_a_request_is_in_the_language_of_its_passage() -> None:
    system, user = texts()
    assert system.startswith("You write questions") and "language" not in system
    assert user.startswith("Passage (Fluids > Zelmure):\n\nZelmure is green.\n\nWrite ")
    asked = requests_for([passage("a", "fr"), passage("b", "en"), passage("c", "de")])
    french, english, german = [request.messages[0]["content"] for request in asked]
    assert french.startswith("Vous rédigez") and english == system
    assert german.startswith("You write questions") and german.endswith("in this language: de.")


def test_a_japanese_exam_is_measured_in_characters() -> None:
    propositions = [{"text": "緑色である", "is_true": True}]
    question = {"question_id": "q", "stem": "正しいのはどれか。", "propositions": propositions}
    style = measure_style([Chain.model_validate({"chain_id": "e", "language": "ja", "questions": [question]})])
    assert (style.stem_words, style.proposition_words) == (8, 5)
    system = texts("ja", style=style)[0]
    assert "a stem has about 8 words" in system and "A character of the passage's script counts as a word." in system


def test_style_by_hand() -> None:
    style = measure_style([chain(4, "tffff", "single", "A man."), chain(1, "tttff")])
    assert style.share_true == (4 + 3) / 25 and style.kinds == {"single": 0.8, "multiple": 0.2}
    assert style.questions == (4, 4) and style.share_progressive == 0.8 and style.n == 2
    assert (style.stem_words, style.proposition_words) == (3, 3) and measure_style([]) == DEFAULT_STYLE
    measured = "28% of its propositions are true; 80% single, 20% multiple of its questions; a case has 4 questions"
    assert measured in texts(style=style)[0]


def test_progressive_cases_and_independent_questions_come_in_the_exams_proportion() -> None:
    style, passages = DEFAULT_STYLE._replace(share_progressive=0.25, questions=(3, 6)), [passage()] * 8

    def asked(number: int) -> list[str]:
        return [r.messages[1]["content"] for r in requests_for(passages, style=style, round=number)]

    assert ["progressive case" in text for text in asked(1)] == [False, False, False, True] * 2
    assert ["progressive case" in text for text in asked(2)] == [False, False, True, False] * 2
    assert "3 to 6 questions in order" in asked(1)[3] and "4 independent questions" in asked(1)[0]


def test_stems_of_earlier_rounds_are_listed() -> None:
    again = texts(asked={"p1": ["Which is green?"], "p2": ["Other?"]})[1]
    listed = "\n\nThese were asked on this passage already; ask about other statements of it:\n- Which is green?"
    assert again == texts()[1] + listed


def test_examples_show_style_and_key_and_nothing_else() -> None:
    example = chain(1, "t", case="Un homme à 39.")
    propositions = [{"text": "one two 0", "is_true": True}]
    question = {"stem": "Which is it?", "kind": "multiple", "propositions": propositions}
    shown = json.loads(texts(examples=[example])[0].split("on other matters:\n")[1])
    assert shown == {"vignette": "Un homme à 39.", "questions": [question]}


def test_a_reader_sees_the_passage_but_no_key() -> None:
    request = reading_request(passage(), chain(2, "tf", case="A man."), 1)
    user = request.messages[1]["content"]
    assert request.wants == "answers" and "Zelmure is green." in user and "A man." in user
    assert user.endswith("1. one two 0\n2. one two 1") and "true" not in user.casefold()
