"""Small chains, a small student, and prompts put together by hand to compare with."""

import copy
import random
import re
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mqg_utils.records import Chain, Passage
from mqg_utils.student.loading import Student, add_lora, load, save
from mqg_utils.student.prompts import WORDINGS
from mqg_utils.student.tiny import UNTRAINED, train_tokenizer

HANDBOOK = Path(__file__).parents[2] / "mqg_utils" / "demo" / "handbook"


def question(stem: str, *texts: str, true: tuple[int, ...] = (0,), kind: str = "multiple") -> dict[str, Any]:
    propositions = [{"text": text, "is_true": i in true} for i, text in enumerate(texts)]
    return {"question_id": stem, "stem": stem, "kind": kind, "propositions": propositions}


def chain(*questions: dict[str, Any], case: str = "", language: str = "en", name: str = "c") -> Chain:
    numbered = [{**q, "question_id": f"{name}-{i}"} for i, q in enumerate(questions)]
    return Chain.model_validate({"chain_id": name, "vignette": case, "language": language, "questions": numbered})


def random_chains(n: int, seed: int = 0, words: int = 30, questions: int = 4, propositions: int = 5) -> list[Chain]:
    """Chains of mixed shape, kind and language, some without a case; `words` is the longest case."""
    draw = random.Random(seed)
    book = handbook().split()

    def say(low: int, high: int) -> str:
        return " ".join(draw.choices(book, k=draw.randint(low, high)))

    def ask() -> dict[str, Any]:
        texts = [say(1, 6) for _ in range(draw.randint(1, propositions))]
        kind = draw.choice(["multiple", "multiple", "single", "fixed"])
        true = draw.sample(range(len(texts)), 1 if kind == "single" else draw.randint(kind == "fixed", len(texts)))
        return question(say(1, 8), *texts, true=tuple(true), kind=kind)

    return [
        chain(
            *(ask() for _ in range(draw.randint(1, questions))),
            case=say(1, words) if draw.random() < 0.8 else "",
            language=draw.choice(["en", "fr"]),
            name=f"c{i}",
        )
        for i in range(n)
    ]


def passage(text: str, name: str = "p", section: tuple[str, ...] = ()) -> Passage:
    return Passage(passage_id=name, book="b", section=section, text=text)


@cache
def handbook() -> str:
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(HANDBOOK.glob("*.md"))[:2])


def build_tiny(texts: Iterable[str], folder: Path, seed: int = 0, **shape: int) -> Student:
    """A small untrained student, saved with its weights."""
    train_tokenizer(texts, folder, seed, **shape)
    student = load(str(folder), device="cpu")
    save(student, folder)
    (folder / UNTRAINED).unlink()
    return student


@cache
def tiny_student() -> Student:
    """A GPT-2 of two layers. Shared by all tests: copy its model before changing it.

    Its weights are four times the usual, so that its log-odds spread and depend on every token and position.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        student = build_tiny([handbook()], Path(folder), vocab_size=600, width=128, layers=2)
    with torch.no_grad():
        for weights in student.model.parameters():
            if weights.dim() > 1:
                weights *= 4
    student.model.eval()
    return student


def fresh(lora: bool = False) -> Student:
    """A copy of the tiny student to train."""
    model = copy.deepcopy(tiny_student().model)
    if lora:
        torch.manual_seed(0)
        model = add_lora(model, 4)
        with torch.no_grad():
            for name, weights in model.named_parameters():
                if "lora_B" in name:  # zero at first, and lora_A would have no gradient
                    weights.normal_(0, 0.1)
    return Student(model, tiny_student().tokenizer)


def gold(chain: Chain) -> list[list[bool]]:
    return [[p.is_true for p in q.propositions] for q in chain.questions]


def plain_ids(
    tokenizer: Any, chain: Chain, q: int, p: int, history: str, ticks: list[list[bool]], labelled: bool = True
) -> list[int]:
    """The prompt of one proposition, its pieces tokenised one by one and put together by hand."""
    wording = WORDINGS[chain.language]
    pieces = [wording.case.format(chain.vignette)] if chain.vignette else []
    for earlier, ticked in zip(chain.questions[:q], ticks, strict=False):
        if history != "none":
            said = "; ".join(x.text for x, tick in zip(earlier.propositions, ticked, strict=True) if tick)
            pieces += [wording.stem.format(earlier.stem), wording.answer.format(said or wording.nothing)]
    asked = chain.questions[q]
    pieces += [wording.stem.format(asked.stem), wording.before, " " + asked.propositions[p].text]
    pieces += [wording.after] if labelled else []
    return [token for piece in pieces for token in tokenizer(piece, add_special_tokens=False)["input_ids"]]


def alone_ids(tokenizer: Any, chain: Chain, q: int, p: int) -> list[int]:
    """A proposition with neither case nor question, and without a label."""
    pieces = [WORDINGS[chain.language].before, " " + chain.questions[q].propositions[p].text]
    return [token for piece in pieces for token in tokenizer(piece, add_special_tokens=False)["input_ids"]]


def places(chain: Chain) -> list[tuple[int, int]]:
    return [(q, p) for q, asked in enumerate(chain.questions) for p in range(len(asked.propositions))]


def distinct(prompts: list[list[int]]) -> int:
    """How many tokens must be forwarded at least: the different beginnings of these prompts."""
    return len({tuple(prompt[:end]) for prompt in prompts for end in range(1, len(prompt) + 1)})


class Words:
    """A tokenizer of one token a word (with the space before it) or sign."""

    def __init__(self, bos: int | None = None) -> None:
        self.bos_token_id = bos
        self.words: dict[str, int] = {}

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        start = [self.bos_token_id] if add_special_tokens and self.bos_token_id is not None else []
        found = re.findall(r" ?\w+|\W", text)
        return {"input_ids": start + [self.words.setdefault(word, 100 + len(self.words)) for word in found]}
