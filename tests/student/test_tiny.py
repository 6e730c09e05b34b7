"""The tiny student: a tokenizer and a seed until it is loaded."""

import subprocess
import sys

import pytest
import torch
from small import handbook, tiny_student

from mqg_utils.student.loading import load
from mqg_utils.student.tiny import train_tokenizer

SHAPE = {"vocab_size": 600, "width": 64, "layers": 1}


def test_the_seed_makes_the_weights_and_leaves_other_draws_alone(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_tokenizer([handbook()], tmp_path / name, seed, **SHAPE)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    a, b, c = (load(str(tmp_path / name), device="cpu") for name in "abc")
    assert torch.equal(torch.rand(1), expected)
    assert a.tokenizer.get_vocab() == b.tokenizer.get_vocab() and len(a.tokenizer) == 600
    pairs = [(a.model.state_dict()[name], x, y) for (name, x), y in zip(*both(b, c), strict=True)]
    assert all(torch.equal(x, y) for x, y, _ in pairs)
    assert not all(torch.equal(x, z) for x, _, z in pairs)
    assert not a.model.training and a.n_parameters == 600 * 64 + 1024 * 64 + 12 * 64**2 + 13 * 64 + 2 * 64


def both(b, c):
    return b.model.state_dict().items(), c.model.state_dict().values()


def test_stage_01_loads_no_torch(tmp_path):
    code = f"""
import pathlib, sys
from mqg_utils import student
made = student.train_tokenizer(["bone"], pathlib.Path({str(tmp_path)!r}), vocab_size=300)
assert student.load_tokenizer({str(tmp_path)!r}).get_vocab() == made.get_vocab()
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("texts", [[""], ["اختبار " * 50], [handbook()]])
def test_label_words_are_one_token_whatever_the_book(texts, tmp_path):
    tokenizer = train_tokenizer(texts, tmp_path)
    assert [len(tokenizer(word)["input_ids"]) for word in (" True", " False", " Vrai", " Faux")] == [1] * 4


def test_no_text_is_unknown_to_it():
    tokenizer = tiny_student().tokenizer
    text = "e\u0301 \u202eمريض 👩🏽‍⚕️ \x00 5 µg"
    assert tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False) == text
