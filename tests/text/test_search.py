"""The open book: each question gets the passage nearest to it, and the tree holds it before that stem only."""

from small import chain, passage, places, question, tiny_student

from mqg_utils.evaluation.decision import Decision
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import score
from mqg_utils.student.forward import context_of
from mqg_utils.student.token_tree import grow_trees, prompt_ids
from mqg_utils.text.search import Index, open_book, terms

BOOK = [
    passage("The quellor makes zelmure at night.", "p0", ("Physiology",)),
    passage("Thravia is a swelling of the heel.", "p1", ("Diseases", "Thravia")),
    passage("Isquane is given at 5 mg a day.", "p2", ("Drugs",)),
]
EXAM = [
    chain(
        question("What does the quellor make?", "Zelmure", "Bile"),
        question("Which dose of isquane?", "5 mg", "50 mg"),
        case="A man has a swollen heel.",
    )
]


def test_the_nearest_passage_shares_rare_words():
    index = Index(p.text for p in BOOK)
    assert [link.place for link in index.nearest(terms("dose isquane"), 1)] == [2]
    assert index.nearest(terms("xylophone")) == ()


def test_each_question_gets_its_own_passages():
    (opened,) = open_book(EXAM, BOOK)
    assert opened.questions[0].reference == "Physiology > The quellor makes zelmure at night."
    assert opened.questions[1].reference == "Drugs > Isquane is given at 5 mg a day."
    (two,) = open_book(EXAM, BOOK, 2)
    assert two.questions[1].reference.startswith(opened.questions[1].reference + "\n")
    assert [q.propositions for q in opened.questions] == [q.propositions for q in EXAM[0].questions]


def test_a_reference_stands_before_its_own_stem_and_in_no_history():
    tokenizer = tiny_student().tokenizer
    (tree,), cuts = grow_trees(open_book(EXAM, BOOK), tokenizer, ("gold",))
    texts = {(leaf.question, leaf.proposition): tokenizer.decode(prompt_ids(tree, leaf)) for leaf in tree.leaves}
    case, first = "Case: A man has a swollen heel.\n", "Question: What does the quellor make?\n"
    assert texts[0, 0].startswith(case + "Textbook: Physiology > The quellor makes zelmure at night.\n" + first)
    told = first + "Correct: Zelmure\n"
    assert texts[1, 1].startswith(case + told + "Textbook: Drugs > Isquane is given at 5 mg a day.\nQuestion: Which")
    assert not any(cuts)


def test_a_long_reference_loses_its_end_before_anything_else():
    tokenizer = tiny_student().tokenizer
    whole, _ = grow_trees(EXAM, tokenizer, ("gold",))
    longest = max(len(prompt_ids(tree, leaf)) for tree in whole for leaf in tree.leaves)
    trees, cuts = grow_trees(open_book(EXAM, BOOK), tokenizer, ("gold",), longest + 6)
    assert cuts.reference_truncated == 1  # the second question's; the first is short enough
    assert sum(cuts) == 1
    assert max(len(prompt_ids(tree, leaf)) for tree in trees for leaf in tree.leaves) <= longest + 6


def test_the_own_history_reads_the_book_too():
    student, opened = tiny_student(), open_book(EXAM, BOOK)
    given = score(student, opened, ("none",)).readouts["truth"]
    own = score_own(student, opened, Decision()).readouts["truth"]
    assert {key[1:] for key in own} == {(0, *place) for place in places(EXAM[0])}
    # a first question has no history, so both read the same prompt
    assert abs(own["predicted", 0, 0, 0] - given["none", 0, 0, 0]) < 1e-4
    closed = score(student, EXAM, ("none",)).readouts["truth"]
    assert abs(closed["none", 0, 0, 0] - given["none", 0, 0, 0]) > 1e-3
    assert context_of(student.model) == 1024
