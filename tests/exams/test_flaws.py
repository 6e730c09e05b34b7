"""Questions that need an image, and options and keys that contradict."""

import pytest
from small import chain

from mqg_utils.exams.flaws import find_flaws, is_reference, needs_image, without


@pytest.mark.parametrize(
    "stem",
    [
        "An ECG is performed as seen in Figure A.", "A photograph of the nails is shown. What is it?",
        "His chest radiograph is shown below.", "She has a rash on both hands (see image).", "A blood smear is shown.",
        "Which structure is marked by the arrow?", "Refer to the attached image.", "The accompanying CT scan was made.",
        "Quel est le diagnostic sur cette photo ?", "Question associée à l'image n°2.",
        "Le cliché suivant est obtenu.", "Pregunta vinculada a la imagen nº 5.", "Se adjunta imagen (figura 2).",
        "¿Qué se observa en la radiografía adjunta?", "胸部エックス線写真（別冊No.6A）を別に示す。", "次の図はどれか。",
    ],
)  # fmt: skip
def test_a_stem_that_shows_an_image(stem: str) -> None:
    assert needs_image(stem)


@pytest.mark.parametrize(
    "stem",
    [
        "Laboratory studies are shown below: Hb 12 g/dL.", "The drug has been shown in trials to work.",
        "A chest x-ray shows an infiltrate.", "This is the clinical picture of gout.", "Figure of eight sutures hold.",
        "La radiographie montre une fracture.", "L'IRM est normale. Quel est le diagnostic ?",
        "La radiografía de tórax es normal.", "心電図で異常を認めない。どれか。", "Following CT scan, he improves.",
    ],
)  # fmt: skip
def test_a_stem_that_describes_what_was_seen(stem: str) -> None:
    assert not needs_image(stem)


@pytest.mark.parametrize(
    ("option", "is_one"),
    [
        ("All of the above", True), ("None of the above.", True), ("Both a and b", True), ("1, 3 and 4", True),
        ("2 only", True), ("Neither", True), ("A and B", True), ("All of these are correct", True),
        ("Toutes les réponses sont exactes", True), ("Aucune des propositions précédentes", True),
        ("Les réponses A et C", True), ("Todas las anteriores", True), ("Ninguna de las anteriores", True),
        ("上記のすべて", True), ("aとb", True), ("該当なし", True), ("Keine der genannten Antworten", True),
        ("None", False), ("Vitamin A and vitamin D", False), ("3,5", False), ("1/2", False), ("2", False),
        ("All of the femur", False), ("Both kidneys", False), ("Toutes les dents", False), ("Hepatitis A and B", False),
        ("Todas las vacunas", False), ("骨", False), ("Two or three", False), ("I", False),
    ],
)  # fmt: skip
def test_an_option_about_other_options(option: str, is_one: bool) -> None:
    assert is_reference(option) is is_one


def test_contradictions_and_conflicts_are_found_and_left_out() -> None:
    asked = {"a": [("ulna", True), ("liver", False)], "b": [("liver", True), ("Ulna", False)], "c": [("ulna", True)]}
    chains = []
    told_apart = [("AA", True), ("Aa", False), ("AaBb", False), ("x²", False), ("x2", False)]
    for name, pairs in {**asked, "d": [("Scan", True), (" scan", False)], "e": told_apart}.items():
        propositions = [{"text": text, "is_true": is_true} for text, is_true in pairs]
        chains.append(chain({"question_id": name, "stem": "Which?", "propositions": propositions}, name=name))
    flaws = find_flaws(chains)
    assert [c for c, _ in flaws["conflicts"]] == ["a", "b"] and [c for c, _ in flaws["contradictions"]] == ["d"]
    assert [c.chain_id for c in without(chains, flaws, ["conflicts", "contradictions"])] == ["c", "e"]
