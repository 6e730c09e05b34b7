"""The report's page as a person uses it, in Chromium."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import simulated
from axe_playwright_python.sync_playwright import Axe
from browser import OpenPage, launch, open_page
from playwright.sync_api import Browser, sync_playwright
from pypdfium2 import PdfDocument
from small import chain, question
from test_write import all_right_or_wrong

from mqg_utils.analysis.results import Run
from mqg_utils.records import Chain, Prediction
from mqg_utils.report.findings import Findings
from mqg_utils.report.write import write_report
from mqg_utils.student.prompts import Pieces, parts_of

pytestmark = pytest.mark.browser

HOSTILE = [
    "<script>document.title='ran'</script>",
    '"><img src=x onerror="document.title=\'ran\'">',
    "'><svg onload='document.title=`ran`'>",
    "</textarea></script></style><iframe srcdoc=x></iframe>",
    "# not a heading **bold** [link](javascript:alert(1)) `code`",
    r"$\frac{1}{2}$ and \(x\) {{ 7*7 }} {% raw %}",
    "=HYPERLINK(1) 🩺 été 診断 \u202eright to left",
    "long " * 4000,
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: Any) -> Path:
    run = simulated.run(simulated.exam(20), passages=12)
    return write_report(Findings(run, repeats=100), tmp_path_factory.mktemp("report"))


def ready(opened: OpenPage) -> Any:
    opened.page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    return opened.page


def test_offline_it_asks_for_nothing_and_draws_everything(browser: Browser, page: Path) -> None:
    for width in (1440, 820, 390):
        with open_page(browser, page, width=width) as opened:
            shown = ready(opened)
            assert (opened.requests, opened.failed, opened.console_errors) == ([], [], [])
            shown.wait_for_function(
                "[...document.querySelectorAll('figure.chart')].every(x => x.querySelector('.trace path'))"
            )
            assert shown.locator("figure.chart").count() == 6
            assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
            links = shown.eval_on_selector_all("nav a", "all => all.map(x => x.getAttribute('href').slice(1))")
            assert all(shown.query_selector(f"[id='{link}']") for link in links) and "chains" in links


def test_on_paper_every_section_is_open_on_at_most_20_pages(browser: Browser, page: Path) -> None:
    with open_page(browser, page) as opened:
        shown = ready(opened)
        pages = [sheet.get_textpage().get_text_range() for sheet in PdfDocument(shown.pdf(format="A4"))]
        assert len(pages) <= 20 and any("Propositions wrong" in text for text in pages)
        assert shown.locator("details.fold[open]").count() == 0, "as it was, on screen"


def test_search_and_filters_narrow_the_map_and_the_chains(browser: Browser, page: Path) -> None:
    with open_page(browser, page) as opened:
        shown = ready(opened)
        shown.select_option("#f-status", "all")
        assert shown.inner_text("#count") == "20 of 20 chains" and shown.locator(".row").count() == 20
        shown.keyboard.press("/")
        shown.keyboard.type("c0007")
        shown.wait_for_function("document.getElementById('count').textContent === '1 of 20 chains'")
        assert shown.locator(".card").count() == 1 and "c0007" in shown.inner_text(".card h3")
        shown.click("#filters button[type=reset]")
        shown.select_option("#f-status", "all")
        shown.select_option("#f-tag", label="propagated")
        kept = shown.locator(".row").count()
        assert 0 < kept < 20 and shown.locator(".card").first.locator(".tag.bad", has_text="propagated").count() > 0


def test_a_deep_link_opens_its_chain_and_the_back_button_leaves_it(browser: Browser, page: Path) -> None:
    with open_page(browser, f"{page.resolve().as_uri()}#chain=c0011&question=c0011-2") as opened:
        shown = ready(opened)
        assert shown.locator(".card").count() == 1 and "c0011" in shown.inner_text(".card h3")
        top = shown.eval_on_selector("[data-question='c0011-2']", "x => x.getBoundingClientRect().top")
        assert 0 <= top < 300
        assert shown.locator(".card tbody tr").count() == 25
        shown.click("#chosen button")
        shown.wait_for_selector("#chosen button", state="detached")
        shown.go_back()
        shown.wait_for_selector("#chosen button")
        shown.click("nav a[href='#slices']")
        shown.wait_for_selector("#chosen button", state="detached")
        assert shown.locator("#panel-slices .trace path").first.is_visible(), "the section is open"
        assert 0 <= shown.eval_on_selector("#slices", "x => x.getBoundingClientRect().top") < 300


def test_a_table_is_saved_as_csv_with_an_estimates_parts(browser: Browser, page: Path) -> None:
    with open_page(browser, page) as opened:
        shown = ready(opened)
        shown.evaluate("document.querySelectorAll('details').forEach(x => { x.open = true; })")
        with shown.expect_download() as saved:
            shown.click(".csv[data-name=scores]")
        assert saved.value.suggested_filename == "scores.csv"
        rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text("utf-8-sig"))))
        books = next(row for row in rows if row["condition"] == "books")
        known = pd.read_csv(page.parent / "tables" / "scores.csv").set_index("condition").loc["books"]
        for name in ("propositions right", "propositions right low", "ECN points high"):
            assert float(books[name]) == pytest.approx(known[name])
        assert (opened.requests, opened.console_errors) == ([], [])


def test_a_passage_leads_to_its_training_and_test_questions(browser: Browser, page: Path) -> None:
    with open_page(browser, page) as opened:
        shown = ready(opened)
        shown.click("#coverage")
        shown.locator("#panel-passages summary").click()
        shown.locator("#panel-passages a").first.click()
        shown.wait_for_selector("dialog[open]")
        assert "Test questions nearest to it" in shown.inner_text("dialog")
        shown.locator("dialog a").first.click()
        shown.wait_for_function("!document.querySelector('dialog').open && location.hash.startsWith('#chain=')")
        assert shown.locator(".card").count() == 1


class Letters:
    """A tokenizer whose tokens are characters."""

    bos_token_id = None

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": [ord(char) for char in text]}


def test_a_question_folds_out_what_the_student_read_and_prints_alone(browser: Browser, page: Path) -> None:
    asked = simulated.run(simulated.exam(20), passages=12)
    case = next(c for c in asked.exam if c.chain_id == "c0011")
    own = {
        (p.position, p.proposition): bool(p.predicted)
        for p in asked.predictions
        if (p.chain_id, p.condition, p.history) == (case.chain_id, "books", "predicted")
    }
    ticks = [[own[k, i] for i in range(len(q.propositions))] for k, q in enumerate(case.questions, 1)]
    part = parts_of(case, Pieces(Letters()), ticks, labelled=False)[2]
    ends = ["".join(map(chr, [*before, *text])) for before, text, _ in part.leaves]
    with open_page(browser, f"{page.resolve().as_uri()}#chain=c0011") as opened:
        shown = ready(opened)
        fold = shown.locator(".card details.links", has_text="What books read").nth(2)
        fold.locator("summary").click()
        assert fold.locator("pre").all_text_contents() == ["".join(map(chr, part.trunk)), "\n".join(ends)]
        shown.evaluate("window.print = () => {}")
        shown.click(".card button:has-text('print')")
        pages = [sheet.get_textpage().get_text_range() for sheet in PdfDocument(shown.pdf(format="A4"))]
        assert len(pages) <= 4 and case.vignette[:30] in pages[0]
        assert not shown.locator("body.one-case").count(), "afterwards the page is whole again"


def test_hostile_text_is_shown_as_it_is_and_nothing_runs(browser: Browser, tmp_path: Path) -> None:
    exam = []
    for i, text in enumerate(HOSTILE):
        shared = {"text": text, "explanation": text, "quote": text, "passage_id": text}
        propositions = [{**shared, "is_true": truth} for truth in (True, False)]
        questions = [{"question_id": f"{i}{text}", "stem": text, "propositions": propositions}]
        ids = {"chain_id": f"{i}{text}", "vignette": text, "language": text}
        exam.append(Chain.model_validate({**ids, "questions": questions}))
    run, made = simulated.run(exam, ("base", HOSTILE[0])), all_right_or_wrong(exam, False)
    answers = [p.model_copy(update={"condition": c}) for c in run.conditions for p in made.predictions]
    run = replace(run, predictions=answers, disclaimer=HOSTILE[1], training_questions=exam[:3])
    page = write_report(Findings(run, repeats=20), tmp_path)
    with open_page(browser, page) as opened:
        shown = ready(opened)
        shown.click("#all") if shown.is_visible("#all") else None
        assert shown.locator(".card").count() == len(HOSTILE)
        for i, text in enumerate(HOSTILE):
            card = shown.locator(".card").filter(has=shown.locator(".id", has_text=f"{i}{text[:20]}"))
            for part in (".case", ".stem", ".text"):
                assert card.locator(part).first.text_content() == text
        assert shown.title() != "ran"
        assert shown.locator("main img, main iframe, .card script, .card svg").count() == 0
        assert (opened.requests, opened.failed, opened.console_errors) == ([], [], [])
        shown.evaluate("id => { location.hash = '#chain=' + encodeURIComponent(id); }", f"7{HOSTILE[7]}")
        shown.wait_for_function("document.querySelectorAll('.card').length === 1")
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("dark", "width"), [(False, 1440), (True, 390)])
def test_no_serious_violation_of_accessibility(browser: Browser, page: Path, dark: bool, width: int) -> None:
    with open_page(browser, page, dark=dark, width=width) as opened:
        shown = ready(opened)
        shown.evaluate("document.querySelectorAll('details').forEach(x => { x.open = true; })")
        found = Axe().run(shown).response["violations"]
        assert [(v["id"], len(v["nodes"])) for v in found if v["impact"] in ("serious", "critical")] == []


def test_a_chain_is_shown_with_the_key_and_every_conditions_answer(browser: Browser, tmp_path: Path) -> None:
    exam = [chain(question("Which?", "alpha", "beta"), case="A case.", name="one")]
    ids = {"seed": 0, "chain_id": "one", "question_id": "one-0", "position": 1, "kind": "multiple"}
    predictions = [
        Prediction(**ids, condition=c, history=h, proposition=i, gold=i == 0, p_true=p,
                   predicted=None if p is None else p > 0.5, status="refused" if p is None else "scored")
        for h in ("gold", "predicted", "none")
        for c, answers in (("base", (0.912, 0.7)), ("books", (0.2, None)))
        for i, p in enumerate(answers)
    ]  # fmt: skip
    run = Run("r", exam, predictions, ("base", "books"), references={"books": "base"})
    with open_page(browser, write_report(Findings(run, repeats=20), tmp_path)) as opened:
        shown = ready(opened)
        lines = [cell.split("\n") for cell in shown.locator(".card tbody tr").all_inner_texts()]
        flat = [" ".join(line).replace("\t", " ").split() for line in lines]
        others = ["gold", "✓", "·", "none", "✓"]
        assert flat == [
            ["alpha", "true", "✓", "true", "0.91", *others, "✗", "false", "0.20", *others[:1], "✗", "·", "none", "✗"],
            ["beta", "false", "✗", "true", "0.70", "gold", "✗", "·", "none", "✗", "✗", "refused"],
        ]
