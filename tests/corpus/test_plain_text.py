"""Plain text: which lines are headings, running heads and tables."""

from pathlib import Path

from books import read, written

from mqg_utils.corpus.library import Library, read_textbook
from mqg_utils.corpus.sections import Section


def test_plain_text_is_a_section_named_after_its_file(tmp_path: Path) -> None:
    (read,) = read_textbook(written(tmp_path / "notes.txt", "One paragraph\nof two lines.\n\nAnother.\n"), "en")
    assert read == Section("notes", ("notes",), ("One paragraph of two lines.", "Another."), "en", "notes.txt, line 1")


def test_a_text_is_headed_as_its_own_contents_list_it(tmp_path: Path) -> None:
    contents = "-   Bone\n    -   Head and\n        neck\n    -   Review Questions\n-   Muscle\n    -   Tendon\n"
    body = (
        "Bone\n\nHard.\n\nHead and neck\n\nRound.\n\nReview Questions\n\nLEAK\n\nMuscle\n\nSoft.\n\nTendon\n\nWhite.\n"
    )
    assert read(written(tmp_path / "a.txt", contents + "\n" + body)) == [
        (("Bone",), ("Hard.",)),
        (("Bone", "Head and neck"), ("Round.",)),
        (("Muscle",), ("Soft.",)),
        (("Muscle", "Tendon"), ("White.",)),
    ]


def test_a_text_without_contents_is_headed_by_the_form_of_its_lines(tmp_path: Path) -> None:
    text = "CHAPTER 1 Bones\n\nHard.\n\n1.1 Head\n\nRound.\n\nNeck\n----\n\nThin. 5 mg.\n\nthe end\n"
    assert read(written(tmp_path / "a.txt", text)) == [
        (("CHAPTER 1 Bones",), ("Hard.",)),
        (("CHAPTER 1 Bones", "1.1 Head"), ("Round.",)),
        (("CHAPTER 1 Bones", "Neck"), ("Thin. 5 mg.", "the end")),
    ]


def test_text_with_a_mark_of_its_encoding_is_read(tmp_path: Path) -> None:
    for name, encoding in (("a.txt", "utf-16"), ("b.txt", "utf-8-sig")):
        assert read(written(tmp_path / name, "fièvre élevée".encode(encoding)))[0][1] == ("fièvre élevée",)


def test_only_the_book_of_a_gutenberg_text_is_read_by_its_contents(tmp_path: Path) -> None:
    text = """The Project Gutenberg EBook of Bones\n\nUse it.\n\n*** START OF THE PROJECT GUTENBERG EBOOK BONES ***\n
Produced by A. Writer\n\nCONTENTS.\n\nPREFACE\n\nON THE FEMUR\n\nIts head. Its neck.\n
PREFACE.\n\nBones are hard; hypo-\nor hyper-\ntrophy of a liga-\nment, 5-\n10 mm.\n\nON THE FEMUR.\n\nIt is long.\n
End of Project Gutenberg's Bones\n\n*** END ***\n\nLICENCE\n\nYou may copy it.\n"""
    library = Library(written(tmp_path / "a.txt", text))
    assert [(s.path, s.blocks) for s in library] == [
        (("PREFACE",), ("Bones are hard; hypo- or hypertrophy of a ligament, 5-10 mm.",)),
        (("ON THE FEMUR",), ("It is long.",)),
    ]
    assert library.left_out == {("a", "Contents"): 9}
