"""Requests: prompts, measured style, examples, and the stems of earlier rounds."""

import json
from typing import Any

from mqg_utils.records import Chain, Passage
from mqg_utils.teacher.prompts import DEFAULT_STYLE, SCHEMAS, measure_style, prompts_for, reading_request, requests_for


def passage(name: str = "p1", language: str = "en") -> Passage:
    return Passage(
        passage_id=name, book="B", section=("Fluids", "Zelmure"), text="Zelmure is green.", language=language
    )


def chain(questions: int = 1, truths: str = "tf", kind: str = "multiple", case: str = "") -> Chain:
    propositions = [{"text": f"one two {i}", "is_true": t == "t"} for i, t in enumerate(truths)]
    asked = [
        {"question_id": f"q{i}", "stem": "Which is it?", "kind": kind, "propositions": propositions}
        for i in range(questions)
    ]
    return Chain.model_validate({"chain_id": "e1", "vignette": case, "language": "en", "questions": asked})


def texts(language: str = "en", **settings: Any) -> tuple[str, str]:
    (request,) = requests_for([passage(language=language)], **settings)
    system, user = request.messages
    assert (system["role"], user["role"]) == ("system", "user")
    return system["content"], user["content"]


def test_a_request_holds_the_passage_and_its_headings() -> None:
    system, user = texts()
    assert user.startswith("Passage (Fluids > Zelmure):\n\nZelmure is green.\n\nWrite ")
    assert system.startswith(prompts_for("en")["system"])


def test_there_is_french_and_other_languages_are_named() -> None:
    system, user = texts(language="fr")
    assert system.startswith("Vous rédigez") and user.startswith("Passage (Fluids > Zelmure) :")
    assert texts(language="de")[0].endswith("in this language: de.")
    assert "language" not in texts()[0]


def test_each_passage_is_asked_about_in_its_own_language() -> None:
    asked = requests_for([passage("a", "fr"), passage("b", "en"), passage("c", "de")])
    begun = [request.messages[0]["content"][:15] for request in asked]
    assert begun == ["Vous rédigez de", "You write quest", "You write quest"]
    assert "in this language: de" in asked[2].messages[0]["content"]


def test_a_japanese_exam_is_measured_in_characters() -> None:
    question = {
        "question_id": "q",
        "stem": "正しいのはどれか。",
        "propositions": [{"text": "緑色である", "is_true": True}],
    }
    style = measure_style([Chain.model_validate({"chain_id": "e", "language": "ja", "questions": [question]})])
    assert (style.stem_words, style.proposition_words) == (8, 5)
    system = texts("ja", style=style)[0]
    assert "a stem has about 8 words" in system and "A character of the passage's script counts as a word." in system
    assert "counts as a word" not in texts()[0]


def test_style_is_measured_by_hand_countable_shares() -> None:
    style = measure_style([chain(4, "tffff", "single", "A man."), chain(1, "tttff")])
    assert style.share_true == (4 + 3) / 25 and style.kinds == {"single": 0.8, "multiple": 0.2}
    assert style.questions == (4, 4) and style.share_progressive == 0.8 and style.n == 2
    assert (style.stem_words, style.proposition_words) == (3, 3)
    assert measure_style([]) == DEFAULT_STYLE
    system, _ = texts(style=style)
    assert (
        "28% of its propositions are true; 80% single, 20% multiple of its questions; a case has 4 questions" in system
    )


def test_progressive_cases_and_independent_questions_come_in_the_exams_proportion() -> None:
    style = DEFAULT_STYLE._replace(share_progressive=0.25, questions=(3, 6))
    asked = [r.messages[1]["content"] for r in requests_for([passage(f"p{i}") for i in range(8)], style=style)]
    progressive = ["progressive case" in text for text in asked]
    assert progressive == [False, False, False, True] * 2
    assert "3 to 6 questions in order" in asked[3] and "4 independent questions" in asked[0]
    again = [r.messages[1]["content"] for r in requests_for([passage(f"p{i}") for i in range(8)], style=style, round=2)]
    assert ["progressive case" in text for text in again] == [False, False, True, False] * 2


def test_what_was_asked_before_is_told() -> None:
    before = texts()[1]
    again = texts(asked={"p1": ["Which is green?"], "p2": ["Other?"]})[1]
    assert (
        again
        == before + "\n\nThese were asked on this passage already; ask about other statements of it:\n- Which is green?"
    )


def test_examples_show_style_and_key_and_nothing_else() -> None:
    example = chain(1, "t", case="Un homme à 39.")
    shown = texts(examples=[example])[0].split("on other matters:\n")[1]
    assert json.loads(shown) == {
        "vignette": "Un homme à 39.",
        "questions": [
            {"stem": "Which is it?", "kind": "multiple", "propositions": [{"text": "one two 0", "is_true": True}]}
        ],
    }


def test_a_reader_sees_the_passage_but_no_key() -> None:
    asked = chain(2, "tf", case="A man.")
    request = reading_request(passage(), asked, 1)
    user = request.messages[1]["content"]
    assert request.wants == "answers" and "Zelmure is green." in user and "A man." in user
    assert user.endswith("1. one two 0\n2. one two 1") and "true" not in user.casefold()


def test_schemas_are_strict() -> None:
    def check(shape: dict[str, Any]) -> None:
        if shape["type"] == "object":
            assert shape["additionalProperties"] is False and shape["required"] == list(shape["properties"])
            for inner in shape["properties"].values():
                check(inner)
        if shape["type"] == "array":
            check(shape["items"])

    for shape in SCHEMAS.values():
        check(shape)
