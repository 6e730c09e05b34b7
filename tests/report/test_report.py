"""The report: what it says in edge cases, several runs in one, and the page as a person uses it in Chromium."""

import csv
import io
import json
import re
import shutil
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
from small import chain, question

from mqg_utils.analysis import results
from mqg_utils.records import Chain, Prediction, write_json
from mqg_utils.report import write as report
from mqg_utils.report.findings import Findings, Run
from mqg_utils.report.sections import chain as course
from mqg_utils.report.sections import order as sections

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


def told(run: Run) -> dict[str, Any]:
    return {section.name: section for section in sections.every(Findings(run, repeats=50))}


# --- what stands in it, and what it says where there is nothing ---


def test_every_section_of_a_whole_run_has_figures_readings_and_rows() -> None:
    made = told(simulated.run(simulated.exam(12), seeds=(0, 1), passages=8))
    missing = {name for name, section in made.items() if section.missing}
    assert missing == {"training", "provenance"}, "a simulated run was not trained and has no manifests"
    for section in made.values():
        for exhibit in section.exhibits:
            assert exhibit.reading.rstrip()[-1] in ".:" and exhibit.rows, exhibit.name
            assert len({tuple(row) for row in exhibit.rows}) == 1, "one set of columns a table"
    drawn = {e.name for s in made.values() for e in s.exhibits if e.figure is not None}
    assert {"scores", "positions", "losses", "transitions", "attribution", "knowledge", "kinds", "reliability"} <= drawn


def test_guessing_has_no_interval_and_a_condition_has() -> None:
    rows = {row["condition"]: row for row in told(simulated.run(simulated.exam(12)))["ablation"].exhibits[0].rows}
    assert {e.shown() for k, e in rows["guess: coin"].items() if k not in ("condition", "ECN, independent")} >= {
        "0.500"
    }
    for name, row in rows.items():
        assert (row["ECN points"].low == row["ECN points"].low) is (not name.startswith("guess")), name


def all_right_or_wrong(asked: list[Chain], right: bool) -> Run:
    run = simulated.run(asked, ("base",))
    said = [
        p.model_copy(update={"predicted": p.gold == right, "p_true": 0.9 if p.gold == right else 0.1})
        for p in run.predictions
    ]
    return replace(run, predictions=said)


def silent(asked: list[Chain]) -> Run:
    run = simulated.run(asked, ("base",))
    said = [p.model_copy(update={"predicted": None, "p_true": None, "status": "failed"}) for p in run.predictions]
    return replace(run, predictions=said)


INDEPENDENT = [chain(question("Which?", "x", "y"), name=f"q{i}") for i in range(6)]
EDGES = {
    "one chain": simulated.run(simulated.exam(1)),
    "one question": simulated.run([chain(question("Which?", "x", "y"))], ("base",)),
    "independent only": simulated.run(INDEPENDENT),
    "case of one question": simulated.run([chain(question("Which?", "x", "y"), case="A case.")], ("base",)),
    "all right": all_right_or_wrong(simulated.exam(6), True),
    "all wrong": all_right_or_wrong(simulated.exam(6), False),
    "failed": silent(simulated.exam(6)),
    "gold only": simulated.run(simulated.exam(6), histories=("gold",)),
    "own only": simulated.run(simulated.exam(6), histories=("predicted",)),
    "two seeds": simulated.run(simulated.exam(6), seeds=(0, 1)),
    "no passages": simulated.run(simulated.exam(6)),
}


@pytest.mark.parametrize("name", EDGES)
def test_an_edge_has_a_result_or_a_sentence_and_never_an_empty_figure(name: str) -> None:
    made = told(EDGES[name])
    for section in made.values():
        assert section.exhibits or section.missing.endswith("."), section.name
        for exhibit in section.exhibits:
            assert exhibit.reading and " nan" not in exhibit.reading, exhibit.name
            if exhibit.figure is not None:
                assert any(axis.has_data() for axis in exhibit.figure.axes), exhibit.name


@pytest.mark.parametrize("name", ["one question", "failed", "own only"])
def test_an_edge_is_a_page_without_errors(browser: Browser, name: str, tmp_path: Path) -> None:
    with open_page(browser, report.write(EDGES[name], tmp_path, Findings(EDGES[name], repeats=50))) as opened:
        shown = ready(opened)
        assert opened.console_errors == [] and shown.locator(".answer tbody tr").count() >= 2
        assert not re.search(r"\bnan\b", shown.inner_text("main"))


def test_edges_are_named() -> None:
    assert told(EDGES["independent only"])["along"].missing == course.NO_DP
    assert told(EDGES["gold only"])["propagation"].missing == course.NO_OWN
    assert "another history" in told(EDGES["gold only"])["why"].missing
    assert told(EDGES["failed"])["calibration"].missing == "No answer has a probability."
    assert "no passages" in told(EDGES["no passages"])["knowledge"].missing
    assert "nothing to compare" in told(EDGES["all right"])["changes"].missing
    assert (
        "no generated questions" in told(EDGES["no passages"])["generated"].missing
        or "No condition" in told(EDGES["no passages"])["generated"].missing
    )
    assert "fewer than 5 chains" in told(EDGES["one chain"])["ablation"].exhibits[0].reading


def test_the_answer_says_what_is_left() -> None:
    said = Findings(simulated.run(simulated.exam(12), passages=8), repeats=50).answer()
    assert (
        "the best condition, **books**" in said and "under its own history" in said and "no generated question" in said
    )


# --- tables ---


def test_tables_are_written_for_programs(tmp_path: Path) -> None:
    run = simulated.run(simulated.exam(6), seeds=(0, 1))
    report.write(run, tmp_path, Findings(run, repeats=50))
    names = {p.stem for p in (tmp_path / "tables").glob("*.csv")}
    assert names == {p.stem for p in (tmp_path / "tables").glob("*.parquet")}
    raw = pd.read_parquet(tmp_path / "tables" / "predictions.parquet")
    assert len(raw) == len(run.predictions) and set(raw["seed"]) == {0, 1} and raw["p_true"].dtype == float
    scores = pd.read_csv(tmp_path / "tables" / "scores.csv").set_index("condition")
    gold = raw[(raw["condition"] == "books") & (raw["history"] == "gold")]
    assert scores.loc["books", "propositions right"] == pytest.approx((gold["predicted"] == gold["gold"]).mean())
    assert scores.loc["books", "propositions right low"] < scores.loc["books", "propositions right"]


# --- of runs in their folders ---


def test_runs_on_one_exam_are_joined_and_compared_condition_by_condition(tmp_path: Path) -> None:
    exam = simulated.exam(6)
    for name, conditions in (("a", ("base", "books")), ("b", ("base", "questions"))):
        simulated.write_run(tmp_path / name, simulated.run(exam, conditions))
    page = report.report_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "out", repeats=50)
    assert page == tmp_path / "out" / "report-a-b" / "report.html"
    joined = results.joined([results.read_run(tmp_path / name) for name in "ab"])
    assert joined.conditions == ("a: base", "a: books", "b: base", "b: questions")
    assert joined.references == {"b: base": "a: base"}
    assert "b: base" in page.read_text("utf-8")


def test_manifests_curves_and_rejected_questions_are_shown(tmp_path: Path) -> None:
    folder = simulated.write_run(tmp_path / "one", simulated.run(simulated.exam(5), ("base", "questions")))
    write_json(folder / "04_finetune" / "base" / "curve.json", {"exam": [{"step": 1, "loss": 2.0}]})
    write_json(folder / "03_generate" / "summary.json", {"questions.drafted": 3, "questions.kept": 1, "cost_usd": 0.5})
    rejected = {"passage_id": "p", "reason": "quote", "detail": "not there", "question": {"stem": "Why?"}}
    (folder / "03_generate" / "rejected.jsonl").write_text(json.dumps(rejected) + "\n", "utf-8")
    simulated.seal(folder, "03_generate")
    simulated.seal(folder, "04_finetune", "base", 7.0, model="tiny", seed=0, run_dir="x")
    simulated.seal(folder, "04_finetune", "books")  # of another plan
    made = told(results.read_run(folder))
    rows = {e.name: e.rows for s in made.values() for e in s.exhibits}
    assert rows["curves"] == [{"training": "base: exam", "step": 1, "loss": 2.0}]
    assert rows["funnel"] == [{"step": "drafted", "questions": 3}, {"step": "kept", "questions": 1}]
    assert rows["rejected"] == [{"reason": "quote", "detail": "not there", "question": "Why?"}]
    assert {"stage": "04_finetune base", "parameter": "model", "value": "'tiny'"} in rows["parameters"]
    stages = ["01_corpus", "03_generate", "04_finetune base", "05_evaluate base", "05_evaluate questions"]
    assert [row["stage"] for row in rows["stages"]] == stages, "stages of another plan are no part of this report"
    assert made["provenance"].exhibits[0].reading == "7 s in 5 stages; cost_usd 0.5."


# --- the page ---


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: Any) -> Path:
    run = simulated.run(simulated.exam(20), passages=12)
    return report.write(run, tmp_path_factory.mktemp("report"), Findings(run, repeats=100))


def ready(opened: OpenPage) -> Any:
    opened.page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    return opened.page


def test_offline_it_asks_for_nothing_and_draws_everything(browser: Browser, page: Path) -> None:
    for width in (1440, 820, 390):
        with open_page(browser, page, width=width) as opened:
            shown = ready(opened)
            assert (opened.requests, opened.failed, opened.console_errors) == ([], [], [])
            boxes = shown.eval_on_selector_all(
                "figure.drawn svg", "all => all.map(x => x.getBoundingClientRect().height)"
            )
            assert len(boxes) >= 9 and min(boxes) > 60
            assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
            links = shown.eval_on_selector_all("nav a", "all => all.map(x => x.getAttribute('href').slice(1))")
            assert all(shown.query_selector(f"[id='{link}']") for link in links) and "chains" in links


def test_search_and_filters_narrow_the_map_and_the_chains(browser: Browser, page: Path) -> None:
    with open_page(browser, page) as opened:
        shown = ready(opened)
        shown.select_option("#f-status", "all")
        assert shown.inner_text("#count") == "20 of 20 chains" and shown.locator(".row").count() == 20
        shown.keyboard.press("/")
        shown.keyboard.type("c0007")
        shown.wait_for_function("document.getElementById('count').textContent === '1 of 20 chains'")
        assert shown.locator(".card").count() == 1 and "c0007" in shown.inner_text(".card h3")
        shown.fill("#f-text", "no such word")
        shown.wait_for_function("document.querySelectorAll('.row').length === 0")
        assert "Clear a filter" in shown.inner_text("#count")
        shown.click("#filters button[type=reset]")
        shown.select_option("#f-status", "all")
        shown.select_option("#f-sort", "name")
        assert shown.locator(".row .id").all_inner_texts() == [f"c{i:04}" for i in range(20)]
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
        shown.wait_for_function("document.querySelectorAll('.card').length > 1")
        shown.go_back()
        shown.wait_for_function("document.querySelectorAll('.card').length === 1")
        shown.click("nav a[href='#kinds']")
        shown.wait_for_function("document.querySelectorAll('.card').length > 1")
        assert 0 <= shown.eval_on_selector("#kinds", "x => x.getBoundingClientRect().top") < 300


def test_a_row_of_the_map_opens_by_mouse_and_by_keyboard(browser: Browser, page: Path) -> None:
    with open_page(browser, page) as opened:
        shown = ready(opened)
        first, second = shown.locator(".row .id").all_inner_texts()[:2]
        shown.locator(".row .m").nth(1).click()
        shown.locator(".card h3", has_text=first).wait_for()
        assert "question=" in shown.evaluate("location.hash")
        shown.go_back()
        shown.locator(".row").first.focus()
        shown.keyboard.press("ArrowDown")
        shown.keyboard.press("Enter")
        shown.locator(".card h3", has_text=second).wait_for()
        assert shown.evaluate("location.hash") == f"#chain={second}"


def test_a_chain_is_shown_with_the_key_and_every_conditions_answer(browser: Browser, tmp_path: Path) -> None:
    exam = [chain(question("Which?", "alpha", "beta"), case="A case.", name="one")]
    ids = {"seed": 0, "chain_id": "one", "question_id": "one-0", "position": 1, "kind": "multiple"}
    said = [
        Prediction(**ids, condition=c, history=h, proposition=i, gold=i == 0, p_true=p,
                   predicted=None if p is None else p > 0.5, status="refused" if p is None else "scored")
        for h in ("gold", "predicted", "none")
        for c, answers in (("base", (0.912, 0.7)), ("books", (0.2, None)))
        for i, p in enumerate(answers)
    ]  # fmt: skip
    run = Run("r", exam, said, ("base", "books"), references={"books": "base"})
    with open_page(browser, report.write(run, tmp_path, Findings(run, repeats=20))) as opened:
        shown = ready(opened)
        lines = [cell.split("\n") for cell in shown.locator(".card tbody tr").all_inner_texts()]
        flat = [" ".join(line).replace("\t", " ").split() for line in lines]
        assert flat == [
            ["alpha", "true", "✓", "true", "0.91", "✗", "false", "0.20"],
            ["beta", "false", "✗", "true", "0.70", "✗", "refused"],
        ]


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


def test_the_trail_leads_from_a_passage_to_its_lessons_and_test_questions(browser: Browser, page: Path) -> None:
    with open_page(browser, page) as opened:
        shown = ready(opened)
        shown.locator("#exhibit-passages a").first.click()
        shown.wait_for_selector("dialog[open]")
        assert "Test questions on it or near it" in shown.inner_text("dialog")
        shown.locator("dialog a").first.click()
        shown.wait_for_function("!document.querySelector('dialog').open && location.hash.startsWith('#chain=')")
        assert shown.locator(".card").count() == 1


def test_hostile_text_is_shown_as_it_is_and_nothing_runs(browser: Browser, tmp_path: Path) -> None:
    exam = []
    for i, text in enumerate(HOSTILE):
        propositions = [
            {"text": text, "is_true": t, "explanation": text, "quote": text, "passage_id": text} for t in (1, 0)
        ]
        propositions = [{**p, "is_true": bool(p["is_true"])} for p in propositions]
        questions = [{"question_id": f"{i}{text}", "stem": text, "propositions": propositions}]
        exam.append(
            Chain.model_validate({"chain_id": f"{i}{text}", "vignette": text, "language": text, "questions": questions})
        )
    run = simulated.run(exam, ("base", HOSTILE[0]))
    made = all_right_or_wrong(exam, False)
    said = [p.model_copy(update={"condition": c}) for c in run.conditions for p in made.predictions]
    rejected = [{"reason": HOSTILE[0], "detail": HOSTILE[1], "question": {"stem": HOSTILE[3]}}]
    run = replace(run, predictions=said, disclaimer=HOSTILE[1], rejected=rejected, training_questions=exam[:3])
    page = report.write(run, tmp_path, Findings(run, repeats=20))
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


def test_printed_it_is_light_and_whole(browser: Browser, page: Path) -> None:
    with open_page(browser, page, dark=True) as opened:
        shown = ready(opened)
        shown.emulate_media(media="print")
        assert shown.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--bg').trim()") == "#fff"
        hidden = shown.eval_on_selector_all(
            "nav, #filters, .csv", "all => all.filter(x => x.offsetParent !== null).length"
        )
        assert hidden == 0
        assert len(shown.pdf(format="A4")) > 100_000


def test_the_command_writes_and_refuses(quick_project: Path) -> None:
    from conftest import mqg, reseal

    done = mqg(quick_project, "report", "quick")
    assert done.returncode == 0 and (quick_project / "outputs/report-quick/report.html").exists(), done.stderr
    shutil.copytree(quick_project / "outputs/quick", quick_project / "outputs/other")
    exam = quick_project / "outputs/other/01_corpus/exam.jsonl"
    exam.write_text(exam.read_text("utf-8").replace("52-year-old bus driver", "52-year-old tram driver"), "utf-8")
    reseal(quick_project / "outputs/other")
    refused = mqg(quick_project, "report", "quick", "other")
    assert refused.returncode == 2 and "have other words or another key" in refused.stderr
    nothing = mqg(quick_project, "report", "nowhere")
    assert nothing.returncode == 2 and "run its stages first" in nothing.stderr
    assert "Traceback" not in refused.stderr + nothing.stderr
    shutil.rmtree(quick_project / "outputs/other")
