"""Figures as SVG for the page and as files at journal width."""

from math import nan
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from mqg_utils.analysis.calibration import Bin, Confidence
from mqg_utils.analysis.metrics import Estimate
from mqg_utils.report import paper

HALF = Estimate(0.5, 0.4, 0.7, 10, 6)
BARE = Estimate(0.3, nan, nan, 4, 2)  # too few chains for an interval
SVG = "{http://www.w3.org/2000/svg}"


def figures() -> dict[str, paper.Figure]:
    return {
        "dots": paper.dots(["a $x^2$ <b>", "c"], {"share": {"one": [HALF, None], "two": [BARE, HALF]}}, {"guess": 0.5}),
        "along": paper.along({"right": {"one": {1: HALF, 2: BARE}, "two": {1: BARE}}, "points": {"one": {1: HALF}}}),
        "stacked": paper.stacked(["q 1", "q 2"], {"missed": [0.5, 0.0], "both": [0.1, 0.2]}, "points"),
        "calibrated": paper.calibrated({"one": [Bin(0, 0.1, 0.05, HALF)]}, {"one": [Confidence(0.5, 0.6, BARE)]}),
        "curves": paper.curves(
            {"one": [{"step": 1, "loss": 2.0}, {"step": 2, "eval_loss": 1.0}, {"step": 3, "loss": nan}]}
        ),
    }


@pytest.mark.parametrize("name", ["dots", "along", "stacked", "calibrated", "curves"])
def test_a_figure_in_the_page_is_whole_named_and_follows_its_colours(name: str) -> None:
    text = paper.svg(figures()[name], name, 'Shares & "more" <here>')
    tree = ElementTree.fromstring(text)
    assert tree.get("role") == "img" and tree.get("aria-label") == 'Shares & "more" <here>'
    ids = [e.get("id") for e in tree.iter() if e.get("id")]
    assert len(set(ids)) == len(ids) and all(i.startswith(f"{name}-") for i in ids)
    used = [value.removeprefix("#") for e in tree.iter() for key, value in e.items() if key.endswith("href")]
    assert set(used) <= set(ids)
    assert "var(--s0)" in text and paper.SERIES[0] not in text, "the page repaints it in the dark"


def test_words_are_words_and_not_formulas() -> None:
    tree = ElementTree.fromstring(paper.plain_svg(figures()["dots"]))
    assert {"a $x^2$ <b>", "c", "guess", "share"} <= {"".join(e.itertext()) for e in tree.iter(f"{SVG}text")}


def test_files_are_at_journal_width(tmp_path: Path) -> None:
    paper.save(figures()["dots"], tmp_path / "one")
    width = ElementTree.parse(tmp_path / "one.svg").getroot().get("width")
    assert width is not None and float(width.removesuffix("pt")) / 72 * 25.4 == pytest.approx(paper.WIDTH_MM, abs=0.1)
    with Image.open(tmp_path / "one.png") as image:
        assert image.width / paper.PNG_DPI * 25.4 == pytest.approx(paper.WIDTH_MM, abs=0.2)


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        paper.save(figures()["along"], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_series_differ_in_mark_as_well_as_in_colour() -> None:
    assert len(set(paper.MARKS)) == len(set(paper.SERIES)) == 7
