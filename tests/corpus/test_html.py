"""HTML: its structure, what is not running text, encodings, tables."""

from pathlib import Path

import pytest
from books import read, refusal, written

from mqg_utils.corpus.library import read_textbook
from mqg_utils.corpus.sections import is_left_out

PAGE = """<html lang="fr"><head><title>no</title><style>no</style></head><body>
<nav><ul><li>no</li></ul></nav><h1>Os</h1><p>Un os est   <b>dur</b>.</p>
<h2>Doses</h2><ol><li>zol<ul><li>deux</li></ul></li><li>vex</li></ol>
<table><caption>Doses</caption><tr><th>Drug</th><th>Dose</th></tr>
<tr><td>zol</td><td>10<sup>3</sup> mg</td></tr></table>
<figure><img src="x.png"/><figcaption>The femur.</figcaption></figure>
<dl><dt>os</dt><dd>tissu dur</dd></dl>
loose words<p hidden>no</p><div class="exercise">no</div><script>no</script>
<h2>Bibliographie</h2><p>no</p><h3>no</h3><p>no</p><h2>Muscle</h2><p>Le muscle.</p></body></html>"""


def test_an_html_page_keeps_its_structure_and_loses_what_is_no_text(tmp_path: Path) -> None:
    sections = read_textbook(written(tmp_path / "os.html", PAGE), "en")
    assert [(s.path, s.blocks) for s in sections] == [
        (("Os",), ("Un os est dur.",)),
        (
            ("Os", "Doses"),
            (
                "1. zol\n  - deux\n2. vex",
                "Table: Doses\nDrug | Dose\nzol | 10^3 mg",
                "Figure: The femur.",
                "os: tissu dur",
                "loose words",
            ),
        ),
        (("Os", "Muscle"), ("Le muscle.",)),
    ]
    assert {(s.book, s.language, s.place) for s in sections} == {("os", "fr", "os.html")}


def test_questions_with_options_and_a_lettered_answer_are_left_out_whatever_their_heading(tmp_path: Path) -> None:
    body = (
        "<h1>Quick look</h1><p>Kept.</p><p>LEAK which?</p><ol><li>LEAK</li><li>LEAK</li></ol><p>B</p><p>Kept too.</p>"
    )
    assert read(written(tmp_path / "a.html", body)) == [(("Quick look",), ("Kept.", "Kept too."))]


def test_hidden_text_navigation_and_edit_links_are_not_read(tmp_path: Path) -> None:
    page = (
        "<body><a>Jump to content</a><div role='navigation'>Deutsch</div><main><h2>Use<span class='mw-editsection'>"
        "[edit]</span></h2><p style='Display : None'>1</p><p>A spl&shy;een\u200b.<sup class='reference'>[1]</sup></p>"
        "</main></body>"
    )
    assert read(written(tmp_path / "a.html", page)) == [(("Use",), ("A spleen.",))]


def test_a_page_whose_body_is_named_index_is_read(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.html", '<body class="index"><h1>A</h1><p>a</p></body>')) == [(("A",), ("a",))]


def test_a_declared_encoding_is_obeyed_and_a_wrong_one_refused(tmp_path: Path) -> None:
    latin = '<meta charset="iso-8859-1"><h1>Fièvre</h1><p>élevée</p>'.encode("latin-1")
    assert read(written(tmp_path / "a.html", latin)) == [(("Fièvre",), ("élevée",))]
    assert "byte 29 is not UTF-8" in refusal(written(tmp_path / "b.html", latin.replace(b"iso-8859-1", b"utf-8")))


@pytest.mark.parametrize(
    ("title", "left_out"),
    [
        ("Review Questions", True),
        ("3.2 References", True),
        ("CRITICAL THINKING QUESTIONS", True),
        ("Références bibliographiques", True),
        ("参考文献", True),
        ("Table of Contents", True),
        ("Exercise", False),  # of the body
        ("Réponse immunitaire", False),
        ("Solutions", False),  # in chemistry
        ("Reference ranges", False),
        ("Chapter Review", False),
        ("The references", False),
    ],
)
def test_which_sections_are_no_running_text(title: str, left_out: bool) -> None:
    assert is_left_out(title) is left_out


def test_a_cell_that_spans_rows_is_repeated_and_what_a_figure_contains_is_read_once(tmp_path: Path) -> None:
    table = "<table><tr><td rowspan=2>zol</td><td>5 mg</td></tr><tr><td>6 mg</td></tr>"
    table += "<tr><td colspan=2>end</td></tr></table>"
    figure = "<figure><p>Inside.</p><figcaption>The femur.</figcaption></figure>"
    assert read(written(tmp_path / "a.html", f"<h1>A</h1>{table}{figure}")) == [
        (("A",), ("zol | 5 mg\nzol | 6 mg\nend", "Inside.", "Figure: The femur."))
    ]


def test_what_follows_a_box_stands_under_the_heading_around_it(tmp_path: Path) -> None:
    page = "<body><h1>A</h1><p>a</p><aside><h2>Box</h2><p>b</p></aside><p>c</p><section><h2>B</h2></section><p>d</p>"
    page += "<p>Go back to the <a>previous</a> page. Continue to the next chapter.</p><p>Previous | Next</p></body>"
    assert read(written(tmp_path / "a.html", page)) == [
        (("A",), ("a",)), (("A", "Box"), ("b",)), (("A",), ("c",)), (("A", "B"), ("d",)),
    ]  # fmt: skip


def test_equations_keep_their_fractions_powers_and_indices(tmp_path: Path) -> None:
    power = "<msup><mn>10</mn>\n<mrow><mo>-</mo><mn>3</mn></mrow></msup>"
    half = "<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></mfrac>"
    charge = "<msubsup><mi>PO</mi><mn>4</mn><mrow><mn>3</mn><mo>−</mo></mrow></msubsup>"
    math = f"{power}<mo>,</mo>{half}<mo>,</mo><msub><mi>CO</mi> <mn>2</mn></msub><msqrt><mi>x</mi></msqrt>{charge}"
    assert read(written(tmp_path / "a.html", f"<p>So <math>{math}</math> ﬁts.</p>")) == [
        (("a",), ("So 10^-3,(a+b)/2,CO2√xPO4^3− fits.",))
    ]
