"""Pieces of prompts: their words by language, their ids, and what is cut where room is short."""

import pytest
import tokenizers
from small import Words, chain, question
from transformers import PreTrainedTokenizerFast

from mqg_utils.records import Question
from mqg_utils.student.prompts import Cuts, Pieces, answer_text, fitted, parts_of, wording_for

CASE = chain(question("Q", "a", "b b", true=(1,)), question("R", "c"), case="one two")


def test_a_language_without_words_of_its_own_gets_english():
    assert wording_for("fr-CA").true == " Vrai"
    assert wording_for("de") == wording_for("") == wording_for("en")


def test_an_answer_lists_what_was_ticked_in_order_or_says_none():
    asked = Question.model_validate(question("Q", " a", "b", "c"))
    assert answer_text(asked, [True, False, True], wording_for("en")) == "Correct: a; c\n"
    assert answer_text(asked, [False] * 3, wording_for("fr")) == "Réponse : aucune\n"


def test_a_start_token_is_the_root_where_the_tokenizer_has_one():
    assert (Pieces(Words()).root, Pieces(Words(bos=1)).root) == ([], [1])


def test_a_tokenizer_that_puts_a_space_before_every_text_puts_none_before_a_piece():
    vocabulary = {sign: i for i, sign in enumerate(["▁", "\n", *"xTrue", "▁T", "▁Tr", "▁Tru", "▁True"])}
    merges = [("▁", "T"), ("▁T", "r"), ("▁Tr", "u"), ("▁Tru", "e")]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges))
    signs = [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = tokenizers.normalizers.Sequence(signs)
    spaced = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert len(spaced(" True")["input_ids"]) == 2
    pieces = Pieces(spaced)
    assert pieces.label(" True") == vocabulary["▁True"]
    assert pieces("\nx") == [vocabulary["\n"], vocabulary["x"]] and pieces("x") == [vocabulary["x"]]


def test_a_label_that_is_not_one_token_is_an_error():
    class Letters(Words):
        def __call__(self, text, add_special_tokens=True):
            return {"input_ids": [ord(letter) for letter in text]}

    with pytest.raises(ValueError, match=r"label word ' True' is 5 tokens.*choose one in prompts.yaml"):
        Pieces(Letters()).label(" True")


def test_the_parts_of_a_question_hold_the_answered_ones_before_it():
    first, second = parts_of(CASE, pieces := Pieces(Words()), [[False, True]])
    assert first.past == [] and second.past == [first.stem, pieces("Correct: b b\n")]
    assert second.trunk == [*pieces("Case: one two\n"), *first.stem, *pieces("Correct: b b\n"), *second.stem]
    assert [text for _, text, _ in first.leaves] == [pieces(" a"), pieces(" b b")]


def test_room_is_made_by_the_reference_then_the_history_then_the_case():
    parts = parts_of(CASE, Pieces(Words()), [[False, True]])[1]._replace(reference=[7, 8])
    whole, bare = len(parts.trunk), len(parts.case) + len(parts.stem)
    rooms = {
        whole: Cuts(0, 0, 0),
        whole - 1: Cuts(0, 0, 0, reference_truncated=1),
        whole - 3: Cuts(1, 0, 0, reference_truncated=1),
        bare - 2: Cuts(1, 1, 0, reference_truncated=1),
    }
    for room, lost in rooms.items():
        short, cuts = fitted(parts, room)
        assert len(short.trunk) <= room and cuts == lost, room
