"""Cases as HTML: what stands in them, and that no text of an exam becomes markup."""

from bs4 import BeautifulSoup
from small import chain, passage, question

from mqg_utils.analysis.metrics import score_questions
from mqg_utils.evaluation.occlusion import Effect, Effects, findings
from mqg_utils.records import Prediction
from mqg_utils.report.findings import Run
from mqg_utils.widgets import case_view as casebook
from mqg_utils.widgets.case_index import Explorer, Filter

EVIL = '<img src=x onerror="alert(1)"><script>alert(2)</script>"\'&'


def run(exam, histories=("gold", "predicted"), p=0.7, conditions=("base",)):
    said = [
        Prediction(
            condition=condition, seed=0, history=h, chain_id=c.chain_id, question_id=q.question_id, position=k,
            proposition=i, kind=q.kind, gold=x.is_true, p_true=p, predicted=p > 0.5,
        )
        for condition in conditions for h in histories for c in exam
        for k, q in enumerate(c.questions, 1) for i, x in enumerate(q.propositions)
    ]  # fmt: skip
    training_questions = [chain(question(EVIL + " bile", EVIL), name="l")]
    passages = [passage(EVIL + " bile", section=(EVIL,))]
    return Explorer(Run("r", exam, said, tuple(conditions), passages=passages, training_questions=training_questions))


def soup(html):
    return BeautifulSoup(html, "html.parser")


def test_no_text_becomes_markup():
    evil = [chain(question(EVIL, EVIL, EVIL + "2 bile"), case=EVIL, name='c"<b>')]
    explorer = run(evil)
    view = explorer.view("base", "predicted")
    left_out = findings(evil[0])
    moved = Effects([0.5, 0.5], [Effect(f, [0.1, -0.1]) for f in left_out], 1, 0.1)
    pages = [casebook.still(explorer, view), casebook.effects_html(evil[0], 0, moved), casebook.text_html(EVIL)]
    pages += [casebook.note_html(EVIL), casebook.map_html([('c"<b>', "10")])]
    for page in map(soup, pages):
        assert not page.select("script, img, b b, [onerror]")
    assert soup(pages[0]).select_one(".stem").get_text() == EVIL
    assert EVIL in soup(pages[0]).select_one(".near").get_text()


def test_a_case_shows_key_verdict_and_probability_in_every_history():
    explorer = run([chain(question("s?", "yes", "no"), name="c")])
    view = explorer.view("base", "predicted")
    page = soup(casebook.explored(explorer, "c", view))
    assert [th.get_text() for th in page.select("th.said")] == ["own answers", "right answers"]
    rows = [[td.get_text(" ", strip=True) for td in tr.select("td")] for tr in page.select("tbody tr")]
    assert rows == [["true", "yes", "✓ true 0.70", "✓ true 0.70"], ["false", "no", "✗ true 0.70", "✗ true 0.70"]]
    assert [i["style"] for i in page.select("tbody tr:first-child .bar i")] == ["width:70%", "width:70%"]
    assert page.select_one("summary .tag").get_text() == "0.5 of 1 point"


def test_what_was_not_asked_or_not_read_is_said():
    explorer = run([chain(question("s?", "yes", "no"), name="c")], histories=("gold",))
    view = explorer.view("base", "gold")
    answers = explorer._answers[view]["c", "c-0"]
    answers[0] = answers[0].model_copy(update={"p_true": None, "predicted": None, "status": "failed"})
    del answers[1]
    cells = [td.get_text(strip=True) for td in soup(casebook.explored(explorer, "c", view)).select("td.said")]
    assert cells == ["failed", "not asked"]


def test_questions_with_an_error_are_open_and_right_ones_closed():
    explorer = run([chain(question("a?", "x", true=(0,)), question("b?", "y", true=()), name="c")])
    page = soup(casebook.explored(explorer, "c", explorer.view("base", "gold")))
    assert [d.has_attr("open") for d in page.select("details.question")] == [False, True]


def test_compared_conditions_stand_under_their_names():
    explorer = run([chain(question("a?", "x"), name="c")], conditions=("base", "books"))
    base, books = explorer.view("base", "gold"), explorer.view("books", "gold")
    page = soup(casebook.explored(explorer, "c", base, books))
    assert [(th.get_text(), th["colspan"]) for th in page.select("th[colspan]")] == [("base", "2"), ("books", "2")]
    said = casebook.headline(explorer, ["c"], base, books)
    assert said.startswith("1 of 1 cases; base, shown right answers") and "1 are right in both" in said


def test_the_still_picture_says_when_nothing_meets_the_filter():
    explorer = run([chain(question("a?", "x"), name="c")])
    page = casebook.still(explorer, explorer.view("base", "gold"), None, Filter(text="zebra"))
    assert "0 of 1 cases" in page and "<table" not in page


def test_effects_are_sorted_by_what_moves_most():
    case = chain(question("a?", "x", "y"), case="One. Two. Three.", name="c")
    moves = ([0.1, 0.0], [0.0, -0.4], [None, 0.2])
    effects = [Effect(f, list(m)) for f, m in zip(findings(case), moves, strict=True)]
    page = soup(casebook.effects_html(case, 0, Effects([0.3, None], effects, 100, 0.5)))
    rows = [[td.get_text(" ", strip=True) for td in tr.select("td")] for tr in page.select("tbody tr")]
    assert rows == [
        ["none: the whole case", "0.30", "too long"],
        ["Two.", "+0.00", "▼ -0.40"],
        ["Three.", "–", "▲ +0.20"],
        ["One.", "▲ +0.10", "+0.00"],
    ]


def test_asked_again_stands_beside_the_exam():
    case = chain(question("a?", "x"), question("b?", "y"), name="c")
    explorer = run([case], histories=("gold",))
    then = explorer.run.predictions
    now = [p.model_copy(update={"p_true": 0.1, "predicted": False}) for p in then]
    page = soup(casebook.asked_again(case, now, then, only=1))
    assert [s.get_text() for s in page.select("summary b")] == ["Question 2"]
    assert [td.get_text(" ", strip=True) for td in page.select("td.said")] == ["✗ false 0.10", "✓ true 0.70"]
    assert score_questions(now)[1].ecn == 0.5
