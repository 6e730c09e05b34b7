"""Trees: every prompt is in, whole and once; nothing sees what its plain prompt does not hold."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import Words, alone_ids, chain, distinct, gold, places, plain_ids, question, random_chains, tiny_student

from mqg_utils.student.prompts import Cuts, Pieces
from mqg_utils.student.token_tree import (
    Tree,
    ancestor_mask,
    bare_trees,
    depths,
    grow_trees,
    join,
    own_words,
    pack,
    prompt_ids,
    question_tree,
)

NONE = Cuts()
FORK = Tree(ids=[5, 6, 7, 8, 9], parents=[-1, 0, 1, 1, 0], leaves=[])  # 5 → 6 → 7 and 8; 5 → 9
TWO = chain(
    question("Which drug?", "aspirin daily", "aspirin weekly", true=(1,)),
    question("And then?", "rest", "no rest", "aspirin", true=(0, 2)),
    case="A woman of 40.",
)


def grow(one, histories=("gold", "none"), context=1000, max_tokens=4096, tokenizer=None, **options):
    return grow_trees([one], tokenizer or Words(), histories, context, max_tokens, **options)


def tokens(text, tokenizer):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def leaf_of(trees, q, p, history="gold"):
    found = [
        (t, x) for t in trees for x in t.leaves if (x.question, x.proposition) == (q, p) and history in x.histories
    ]
    assert len(found) == 1, f"proposition {q}.{p} has {len(found)} leaves under {history}"
    return found[0]


def read(trees, one, tokenizer, history="gold"):
    """Every proposition's prompt as its tree has it."""
    return {place: prompt_ids(*leaf_of(trees, *place, history)) for place in places(one)}


# --- what a tree is ---


def test_depths_and_mask_of_a_fork():
    assert depths(FORK.parents).tolist() == [0, 1, 2, 2, 1]
    assert ancestor_mask(FORK.parents).astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("history", ["gold", "none"])
@pytest.mark.parametrize("tokenizer", [Words(), tiny_student().tokenizer], ids=["words", "bytes"])
def test_a_prompt_is_its_pieces_put_together(tokenizer, history, labelled):
    for one in [TWO, *random_chains(12, seed=3)]:
        trees, cuts = grow(one, tokenizer=tokenizer, labelled=labelled)
        assert cuts == NONE
        for (q, p), ids in read(trees, one, tokenizer, history).items():
            assert ids == plain_ids(tokenizer, one, q, p, history, gold(one), labelled)


@pytest.mark.parametrize(("language", "before"), [("en", "Answer:"), ("fr", "Bonne réponse :")])
def test_the_words_of_a_prompt(language, before):
    tokenizer, one = Words(), TWO.model_copy(update={"language": language})
    tree, leaf = leaf_of(grow(one, tokenizer=tokenizer)[0], 1, 2)
    words = {token: word for word, token in tokenizer.words.items()}
    expected = {
        "en": "Case: A woman of 40.\nQuestion: Which drug?\nCorrect: aspirin weekly\n"
        "Question: And then?\nAnswer: aspirin\nTrue or false:",
        "fr": "Cas clinique : A woman of 40.\nQuestion : Which drug?\nRéponse : aspirin weekly\n"
        "Question : And then?\nBonne réponse : aspirin\nVrai ou faux :",
    }
    assert "".join(words[token] for token in prompt_ids(tree, leaf)) == expected[language]
    labels = {"en": [" True", " False"], "fr": [" Vrai", " Faux"]}
    assert [words[label] for label in leaf.labels] == labels[language] and leaf.is_true
    bare, unlabelled = leaf_of(grow(one, tokenizer=tokenizer, labelled=False)[0], 1, 2)
    assert "".join(words[token] for token in prompt_ids(bare, unlabelled)).endswith(f"{before} aspirin")
    assert (unlabelled.labels, unlabelled.n_after) == ((0, 0), 0)


@pytest.mark.parametrize("labelled", [True, False])
def test_the_own_words_of_a_proposition_are_those_of_its_text(labelled):
    tokenizer = Words()
    for one in [TWO, *random_chains(6, seed=3)]:
        trees, _ = grow(one, tokenizer=tokenizer, labelled=labelled)
        for q, p in places(one):
            tree, leaf = leaf_of(trees, q, p)
            own, text = own_words(tree, leaf), one.questions[q].propositions[p].text
            assert [tree.ids[token] for token in own] == tokens(" " + text, tokenizer)
            assert [tree.parents[token] for token in own[1:]] == own[:-1]
            before = prompt_ids(tree, leaf._replace(token=tree.parents[own[0]]))
            assert before[-2:] == alone_ids(tokenizer, one, q, p)[: -len(own)][-2:]


@pytest.mark.parametrize("bos", [None, 1])
@pytest.mark.parametrize("max_tokens", [1, 12, 1000])
def test_propositions_alone_share_what_they_begin_with_and_long_ones_have_no_leaf(max_tokens, bos):
    tokenizer, texts = Words(bos), ["rest", " rest well ", "a b", "long " * 40, "a"]
    trees = bare_trees([("en", text) for text in texts], Pieces(tokenizer), 30, max_tokens)
    read_at = {leaf.proposition: (tree, leaf) for tree in trees for leaf in tree.leaves}
    assert sorted(read_at) == [0, 1, 2, 4]
    for i, (tree, leaf) in read_at.items():
        words = tokens(" " + texts[i].strip(), tokenizer)
        assert prompt_ids(tree, leaf) == [1] * (bos is not None) + tokens("Answer:", tokenizer) + words
        assert [tree.ids[token] for token in own_words(tree, leaf)] == words
    assert len(trees) == {1: 4, 12: 2, 1000: 1}[max_tokens]
    assert (
        sum(len(tree.ids) for tree in trees) == distinct([prompt_ids(*found) for found in read_at.values()])
        or max_tokens < 1000
    )


# --- rows ---


def test_in_a_row_no_tree_sees_another():
    row = join([FORK, FORK])
    assert row.parents == [-1, 0, 1, 1, 0, -1, 5, 6, 6, 5]
    mask = ancestor_mask(row.parents)
    assert np.array_equal(mask[:5, :5], mask[5:, 5:]) and not mask[:5, 5:].any() and not mask[5:, :5].any()
    assert depths(row.parents).tolist() == [0, 1, 2, 2, 1] * 2


def test_rows_hold_every_tree_once_in_order_and_the_long_one_alone():
    sizes = [3, 9, 2, 5, 20]
    trees = [Tree([i] * size, list(range(-1, size - 1)), []) for i, size in enumerate(sizes)]
    rows = pack(trees, 10)
    held = [[i for i, _ in itertools.groupby(row.ids)] for row in rows]
    assert sorted(held) == [[0, 2, 3], [1], [4]]
    assert all(len(row.ids) <= 10 for row in rows if 4 not in row.ids)


# --- too long for a row, too long for the model ---


def test_a_split_chain_repeats_its_trunk_and_loses_nothing():
    one = chain(*(question(f"stem {i}", "a b c", "d e", "f", true=(i % 3,)) for i in range(6)), case="one two three")
    tokenizer = Words()
    whole, split = grow(one, tokenizer=tokenizer)[0], grow(one, max_tokens=60, tokenizer=tokenizer)[0]
    assert len(whole) == 1 and len(split) > 3
    for history in ("gold", "none"):
        assert read(split, one, tokenizer, history) == read(whole, one, tokenizer, history)
    case = tokens("Case: one two three\n", tokenizer)
    assert all(tree.ids[: len(case)] == case for tree in split)


def test_a_question_is_split_between_its_propositions_when_it_must_be():
    one = chain(question("Q", *(f"a{i} b{i} c{i} d{i}" for i in range(10))))
    trees, cuts = grow(one, max_tokens=30)
    assert cuts == NONE
    assert all(len(tree.ids) <= 30 for tree in trees)
    assert sorted(leaf.proposition for tree in trees for leaf in tree.leaves) == list(range(10))


@pytest.mark.parametrize("most", [1, 30])
def test_a_question_can_be_kept_together(most):
    texts, tokenizer = [f"a{i} b{i} c{i} d{i}" for i in range(5)], Words()
    one = chain(question("Q", *texts, kind="single"), question("R", *texts))
    trees, cuts = grow(one, ("gold",), max_tokens=most, tokenizer=tokenizer, whole_questions=True)
    assert cuts == NONE and read(trees, one, tokenizer) == read(grow(one, tokenizer=tokenizer)[0], one, tokenizer)
    assert [[leaf[1:3] for leaf in tree.leaves] for tree in trees] == [[(q, p) for p in range(5)] for q in (0, 1)]
    assert max(len(tree.leaves) for tree in grow(one, ("gold",), max_tokens=most)[0]) < 5


def history_of(ids, tokenizer):
    return sum(token == tokenizer.words["Correct"] for token in ids)


def test_the_oldest_history_goes_first_then_the_end_of_the_case():
    tokenizer = Words()
    one = chain(*(question(f"s{i}", f"p{i}") for i in range(4)), case="c0 c1 c2 c3 c4 c5")
    whole = read(grow(one, ("gold",), tokenizer=tokenizer)[0], one, tokenizer)[3, 0]
    # of the last prompt a question and its answer are 4 + 4 tokens, and all of them come to len(whole)
    for room, dropped in [(len(whole), 0), (len(whole) - 1, 1), (len(whole) - 8, 1), (len(whole) - 9, 2)]:
        trees, cuts = grow(one, ("gold",), context=room, tokenizer=tokenizer)
        ids = prompt_ids(*leaf_of(trees, 3, 0))
        assert len(ids) <= room and history_of(ids, tokenizer) == 3 - dropped
        assert cuts.case_truncated == cuts.failed == 0
        case = tokens("Case: c0 c1 c2 c3 c4 c5\n", tokenizer)
        assert ids == case + whole[len(case) + 8 * dropped :]


def test_the_case_loses_its_end_and_the_question_is_whole():
    tokenizer = Words()
    one = chain(question("s0", "p0"), question("s1", "p1", "p1 p1"), case="c0 c1 c2 c3 c4 c5")
    asked = tokens("Question: s1\n", tokenizer) + tokens("Answer:", tokenizer)
    room = len(asked) + 2 + 5 + 4  # the longer proposition, its end, and four tokens of the case
    trees, cuts = grow(one, context=room, tokenizer=tokenizer)
    assert prompt_ids(*leaf_of(trees, 1, 1))[:4] == tokens("Case: c0 c1", tokenizer)
    assert prompt_ids(*leaf_of(trees, 1, 1))[4 : 4 + len(asked)] == asked
    assert len(prompt_ids(*leaf_of(trees, 1, 1))) == room
    assert cuts == Cuts(history_dropped=1, case_truncated=2, failed=0)


def test_a_proposition_that_fits_nowhere_is_counted_and_its_neighbours_stay():
    one = chain(question("Q", "a", "long " * 50, "b"), question("R", "c"), case="short")
    trees, cuts = grow(one, context=30)
    assert cuts.failed == 1
    assert {(x.question, x.proposition) for t in trees for x in t.leaves} == {(0, 0), (0, 2), (1, 0)}


def test_a_chain_that_fits_nowhere_has_no_tree():
    trees, cuts = grow(TWO, context=5)
    assert trees == []
    assert cuts.failed == 5


# --- the tree of one question, for a student's own history ---


def test_a_question_tree_follows_the_answers_given():
    tokenizer = Words()
    said = [[True, True]]
    tree, n_trunk, cuts = question_tree(TWO, 0, 1, Pieces(tokenizer), 1000, said)
    assert cuts == NONE
    assert {leaf.histories for leaf in tree.leaves} == {("predicted",)}
    for leaf in tree.leaves:
        assert prompt_ids(tree, leaf) == plain_ids(tokenizer, TWO, 1, leaf.proposition, "predicted", said)
        assert prompt_ids(tree, leaf)[:n_trunk] == tree.ids[:n_trunk]
    assert tree.ids[:n_trunk][-6:] == tokens("Question: And then?\n", tokenizer)


# --- inputs that are wrong or rare ---


RARE = [
    "مريض عمره ٤٠ سنة",
    "e\u0301\u0327clampsie",
    "אבג 123 דהו",
    "👩🏽‍⚕️ ok",
    "पि\u200dत्त",
    "a\u2028b",
    "\u202eabc\u202c",
]


def test_right_to_left_and_combining_characters_come_back_as_they_went_in():
    tokenizer = tiny_student().tokenizer
    one = chain(*(question(text, text, "a" + text) for text in RARE), case=" ".join(RARE))
    trees, cuts = grow(one, tokenizer=tokenizer, context=10_000)
    assert cuts == NONE
    for (q, p), ids in read(trees, one, tokenizer, "none").items():
        stem, text = one.questions[q].stem, one.questions[q].propositions[p].text
        said = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert said == f"Case: {one.vignette}\nQuestion: {stem}\nAnswer: {text}\nTrue or false:"


# --- any shape at all ---

WORD = st.sampled_from(["a", "b", "a b", "b a", "a a b", "long word here"])
QUESTION = st.builds(
    lambda stem, texts, kind: question(stem, *texts, kind=kind),
    WORD,
    st.lists(WORD, min_size=1, max_size=5),
    st.sampled_from(["multiple", "single", "fixed"]),
)
CHAIN = st.builds(
    lambda case, asked, language: chain(*asked, case=case, language=language),
    st.one_of(st.just(""), WORD),
    st.lists(QUESTION, min_size=1, max_size=5),
    st.sampled_from(["en", "fr"]),
)
PARENTS = st.lists(st.integers(0, 10**6), max_size=40).map(lambda raw: [n % (i + 1) - 1 for i, n in enumerate(raw)])


@given(PARENTS)
def test_the_mask_of_any_tree_is_the_transitive_closure(parents):
    mask, depth = ancestor_mask(parents), depths(parents)
    for i in range(len(parents)):
        path, token = set(), i
        while token >= 0:
            path.add(token)
            token = parents[token]
        assert set(np.flatnonzero(mask[i]).tolist()) == path
        assert depth[i] == len(path) - 1


@given(CHAIN)
@settings(deadline=None)
def test_any_chain_is_laid_out_whole_and_each_distinct_token_once(one):
    tokenizer = Words()
    (tree,), cuts = grow(one, tokenizer=tokenizer)
    assert cuts == NONE
    assert all(parent < i for i, parent in enumerate(tree.parents))
    expected = {
        h: {(q, p): plain_ids(tokenizer, one, q, p, h, gold(one)) for q, p in places(one)} for h in ("gold", "none")
    }
    for history, prompts in expected.items():
        assert read([tree], one, tokenizer, history) == prompts
    assert len(tree.ids) == distinct([ids for prompts in expected.values() for ids in prompts.values()])


@given(CHAIN, st.integers(10, 60), st.integers(20, 60))
@settings(deadline=None)
def test_any_chain_in_any_room_has_every_proposition_once_or_counted(one, max_tokens, context):
    trees, cuts = grow(one, context=context, max_tokens=max_tokens)
    for history in ("gold", "none"):
        read_at = [(x.question, x.proposition) for t in trees for x in t.leaves if history in x.histories]
        assert len(set(read_at)) == len(read_at) == len(places(one)) - cuts.failed
    assert all(depths(tree.parents).max() < context for tree in trees)
