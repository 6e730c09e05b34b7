"""Cases as HTML: what they show, and that no text of an exam becomes markup."""

from bs4 import BeautifulSoup
from small import chain, passage, question

from mqg_utils.analysis.results import Run
from mqg_utils.evaluation.occlusion import Effect, Effects, findings
from mqg_utils.records import Prediction
from mqg_utils.widgets import case_view, keys
from mqg_utils.widgets.case_index import CaseIndex

EVIL = '<img src=x onerror="alert(1)"><script>alert(2)</script>"\'&'


def run(exam, histories=("gold", "predicted"), p=0.7, conditions=("base",)):
    predictions = [
        Prediction(
            condition=condition, seed=0, history=h, chain_id=c.chain_id, question_id=q.question_id, position=k,
            proposition=i, kind=q.kind, gold=x.is_true, p_true=p, predicted=p > 0.5,
        )
        for condition in conditions for h in histories for c in exam
        for k, q in enumerate(c.questions, 1) for i, x in enumerate(q.propositions)
    ]  # fmt: skip
    texts = {
        "training_questions": [chain(question(EVIL + " bile", EVIL), name="l")],
        "passages": [passage(EVIL + " bile", section=(EVIL,))],
    }
    return CaseIndex(Run("r", exam, predictions, tuple(conditions), **texts))


def soup(html):
    return BeautifulSoup(html, "html.parser")


def test_no_text_becomes_markup():
    evil = [chain(question(EVIL, EVIL, EVIL + "2 bile"), case=EVIL, name='c"<b>')]
    index = run(evil)
    moved = Effects([0.5, 0.5], [Effect(f, [0.1, -0.1]) for f in findings(evil[0])], 1, 0.1)
    pages = [case_view.case_of_run(index, evil[0].chain_id, index.view("base", "predicted")), keys.message_html(EVIL)]
    pages.append(case_view.occlusion_html(evil[0], 0, moved))
    for page in map(soup, pages):
        assert not page.select("script, img, b b, [onerror]")
    assert soup(pages[0]).select_one(".stem").get_text() == EVIL
    assert EVIL in soup(pages[0]).select_one(".near").get_text()


def test_a_case_shows_key_verdict_and_probability_in_every_history():
    index = run([chain(question("s?", "yes", "no"), name="c")])
    page = soup(case_view.case_of_run(index, "c", index.view("base", "predicted")))
    assert [th.get_text() for th in page.select("th.answer")] == ["own answers", "right answers"]
    rows = [[td.get_text(" ", strip=True) for td in tr.select("td")] for tr in page.select("tbody tr")]
    assert rows == [["true", "yes", "✓ true 0.70", "✓ true 0.70"], ["false", "no", "✗ true 0.70", "✗ true 0.70"]]
    assert [i["style"] for i in page.select("tbody tr:first-child .bar i")] == ["width:70%", "width:70%"]
    assert page.select_one("summary .tag").get_text() == "0.5 of 1 point"


def test_answers_without_a_verdict_show_why():
    index = run([chain(question("s?", "yes", "no"), name="c")], histories=("gold",))
    view = index.view("base", "gold")
    answers, key = index.answers[view], ("c", "c-0")
    answers[*key, 0] = answers[*key, 0].model_copy(update={"p_true": None, "predicted": None, "status": "failed"})
    del answers[*key, 1]
    cells = soup(case_view.case_of_run(index, "c", view)).select("td.answer")
    assert [td.get_text(strip=True) for td in cells] == ["failed", "not asked"]


def test_questions_with_an_error_are_open_and_right_ones_closed():
    index = run([chain(question("a?", "x", true=(0,)), question("b?", "y", true=()), name="c")])
    page = soup(case_view.case_of_run(index, "c", index.view("base", "gold")))
    assert [d.has_attr("open") for d in page.select("details.question")] == [False, True]


def test_compared_conditions_have_their_names_above_their_columns():
    index = run([chain(question("a?", "x"), name="c")], conditions=("base", "books"))
    base, books = index.view("base", "gold"), index.view("books", "gold")
    page = soup(case_view.case_of_run(index, "c", base, books))
    assert [(th.get_text(), th["colspan"]) for th in page.select("th[colspan]")] == [("base", "2"), ("books", "2")]
    headline = case_view.headline(index, ["c"], base, books)
    assert headline.startswith("1 of 1 cases; base, shown right answers") and headline.endswith(
        "1.00 here, 1.00 there."
    )


def test_findings_are_sorted_by_their_effect():
    case = chain(question("a?", "x", "y"), case="One. Two. Three.", name="c")
    moves = ([0.1, 0.0], [0.02, -0.4], [None, 0.2])
    effects = [Effect(f, list(m)) for f, m in zip(findings(case), moves, strict=True)]
    page = soup(case_view.occlusion_html(case, 0, Effects([0.3, None], effects, 100, 0.5)))
    rows = [[td.get_text(" ", strip=True) for td in tr.select("td")] for tr in page.select("tbody tr")]
    assert rows == [
        ["none: the whole case", "0.30", "too long"],
        ["Two.", "+0.02", "▼ -0.40"],
        ["Three.", "–", "▲ +0.20"],
        ["One.", "▲ +0.10", "+0.00"],
    ]
    assert [span["class"] for span in page.select("tbody tr:nth-child(2) span[class]")] == [["slight"], ["down"]]
    bold = page.select("span[style]")
    assert [span.get_text(strip=True) for span in bold] == ["▼ -0.40", "▲ +0.20"], "half of the largest"
    noise = case_view.occlusion_html(case, 0, Effects([0.3, 0.3], [Effect(findings(case)[0], [0.01, -0.02])], 9, 0.5))
    assert not soup(noise).select(".up, .down, [style*=font-weight]"), "noise is not marked"


def test_a_case_is_shown_beside_its_exam():
    case = chain(question("a?", "x"), name="c")
    exam = run([case], histories=("gold",)).run.predictions
    now = [p.model_copy(update={"p_true": 0.1, "predicted": False}) for p in exam]
    page = soup(case_view.case_beside_exam(case, now, exam))
    assert [td.get_text(" ", strip=True) for td in page.select("td.answer")] == ["✗ false 0.10", "✓ true 0.70"]
    tags = [tag.get_text() for tag in page.select(".tag")]
    assert tags == ["now: 0.5 of 1 point", "in the exam: 1 of 1 point"]
