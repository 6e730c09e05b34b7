"""A case as text and back: nothing is lost, and errors name their line."""

import pytest
from small import random_chains

from mqg_utils.widgets.case_text import read_case, write_case

TEXT = """A man of 40.
He coughs.

Smoker.

? Which are right?
+ He needs an X-ray
of the chest.
- Nothing is needed.
> Imaging is
indicated.

?1 And now?
- Wait.
+ Treat.
"""


def test_a_text_becomes_a_chain():
    made = read_case(TEXT)
    assert made.vignette == "A man of 40.\nHe coughs.\n\nSmoker."
    assert [(q.question_id, q.kind, q.stem) for q in made.questions] == [
        ("new-q1", "multiple", "Which are right?"),
        ("new-q2", "single", "And now?"),
    ]
    assert [(p.text, p.is_true, p.quote) for p in made.questions[0].propositions] == [
        ("He needs an X-ray of the chest.", True, ""),
        ("Nothing is needed.", False, "Imaging is indicated."),
    ]


@pytest.mark.parametrize("before", random_chains(6, seed=3))
def test_writing_and_reading_keep_the_questions(before):
    after = read_case(write_case(before), before.chain_id, before.language, before)
    expected = [(q.question_id, q.kind, " ".join(q.stem.split()), q.n_true) for q in before.questions]
    assert [(q.question_id, q.kind, q.stem, q.n_true) for q in after.questions] == expected
    for one, other in zip(before.questions, after.questions, strict=True):
        assert [(" ".join(p.text.split()), p.is_true) for p in one.propositions] == [
            (p.text, p.is_true) for p in other.propositions
        ]
    assert (after.vignette, after.language) == (before.vignette.strip(), before.language)


def test_a_list_of_findings_before_the_first_question_belongs_to_the_case():
    made = read_case("Findings:\n- fever\n+ cough\n? Which?\n+ yes\n")
    assert made.vignette == "Findings:\n- fever\n+ cough"
    assert len(made.questions) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("only words", "no question found"),
        ("case\n\n? a\n? b\n+ c", "line 3: this question has no proposition"),
        ("?1 a\n+ b\n+ c", "line 1: questions.0: is 'single'"),
        ("? a\n+ b\n?\n+ c", "line 3: questions.1.stem"),
        ("? a\n+\n", "questions.0.propositions.0.text"),
    ],
)
def test_errors_name_their_line(text, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        read_case(text)
