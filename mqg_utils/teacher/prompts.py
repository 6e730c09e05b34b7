"""Prompts to a chat model, in English and French, and the JSON schema of its answers."""

import functools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mqg_utils.records import Chain, Passage
from mqg_utils.teacher.cache import Request
from mqg_utils.text.words import words

LANGUAGES = ("en", "fr")
QUESTIONS, PROPOSITIONS = 4, 5  # independent ones of a request, and of a requested question
SCHEMAS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("schemas.yaml").read_text("utf-8"))


@functools.cache
def prompts_for(language: str) -> dict[str, Any]:
    """The prompts in a language of LANGUAGES, the English ones for any other: prompts.en.yaml, prompts.fr.yaml."""
    name = language if language in LANGUAGES else "en"
    return dict(yaml.safe_load(Path(__file__).with_name(f"prompts.{name}.yaml").read_text("utf-8")))


class Style(NamedTuple):
    """What an exam looks like, measured on its train split."""

    share_true: float
    kinds: dict[str, float]  # share of the questions of each kind
    questions: tuple[int, int]  # fewest and most of a progressive chain
    share_progressive: float  # of the questions
    stem_words: float  # a Chinese or Japanese character is a word
    proposition_words: float
    n: int  # chains it was measured on; 0: these are the defaults


DEFAULT_STYLE = Style(0.5, {"multiple": 1.0}, (3, 6), 0.5, 15, 12, 0)


def measure_style(chains: Sequence[Chain]) -> Style:
    """The style of an exam's train split; DEFAULT_STYLE without chains."""
    if not chains:
        return DEFAULT_STYLE
    questions = [question for chain in chains for question in chain.questions]
    propositions = [proposition for question in questions for proposition in question.propositions]
    kinds = Counter(question.kind for question in questions)
    lengths = [len(chain.questions) for chain in chains if chain.is_progressive]
    asked = [min(6, max(3, n)) for n in lengths] or [3, 6]
    return Style(
        sum(p.is_true for p in propositions) / len(propositions),
        {kind: count / len(questions) for kind, count in kinds.most_common()},
        (min(asked), max(asked)),
        sum(lengths) / len(questions),
        sum(len(words(q.stem)) for q in questions) / len(questions),
        sum(len(words(p.text)) for p in propositions) / len(propositions),
        len(chains),
    )


def requests_for(
    passages: Iterable[Passage], examples: Sequence[Chain] = (), style: Style = DEFAULT_STYLE,
    asked: Mapping[str, Sequence[str]] | None = None, round: int = 1,
) -> list[Request]:  # fmt: skip
    """One request a passage, in its language: for a progressive case or for questions, in the exam's proportion.

    `examples` (of the train split only) show the style; `asked` lists each passage's stems from earlier rounds.
    """
    requests, due = [], (round - 1) * style.share_progressive % 1  # a later round asks a passage for the other form
    low, high = style.questions
    system = functools.cache(lambda language: _system(language, style, examples))
    for passage in passages:
        prompts = prompts_for(passage.language)
        due += style.share_progressive
        task = prompts["independent" if due < 1 else "progressive"].format(n=QUESTIONS, low=low, high=high)
        due %= 1
        parts = [prompts["passage"].format(section=" > ".join(passage.section)), passage.text, task]
        if stems := (asked or {}).get(passage.passage_id, ()):
            parts.append("\n".join([prompts["asked"], *(f"- {stem}" for stem in stems)]))
        messages = _messages(system(passage.language), "\n\n".join(parts))
        requests.append(Request(passage=passage, messages=messages, round=round))
    return requests


def _messages(system: str, user: str) -> tuple[dict[str, str], ...]:
    return {"role": "system", "content": system}, {"role": "user", "content": user}


def _system(language: str, style: Style, examples: Sequence[Chain]) -> str:
    """The rules, measured style and examples that precede every passage in a language."""
    prompts = prompts_for(language)
    kinds = ", ".join(f"{share:.0%} {kind}" for kind, share in style.kinds.items())
    questions = "-".join(map(str, dict.fromkeys(style.questions)))
    n_words = {"stem": round(style.stem_words), "text": round(style.proposition_words)}
    measured = prompts["style"].format(share=style.share_true, kinds=kinds, questions=questions, **n_words)
    lines = [prompts["system"], measured]
    if examples:
        question = {"stem": True, "kind": True, "propositions": {"__all__": {"text", "is_true"}}}
        shown: Any = {"vignette": True, "questions": {"__all__": question}}
        dumps = [chain.model_dump(mode="json", include=shown) for chain in examples]
        lines += [prompts["examples"], *(json.dumps(dump, ensure_ascii=False) for dump in dumps)]
    if language[:2] in ("ja", "zh"):
        lines.append(prompts["characters"])
    if language and language not in LANGUAGES:
        lines.append(prompts["other_language"].format(language))
    return "\n".join(lines)


def reading_request(passage: Passage, chain: Chain, position: int, round: int = 1) -> Request:
    """A chain's question to be answered with its passage in view, without the earlier answers; each round has a key."""
    prompts = prompts_for(chain.language or passage.language)
    stems = [chain.vignette, *(q.stem for q in chain.questions[: position + 1])]
    options = [f"{i}. {p.text}" for i, p in enumerate(chain.questions[position].propositions, 1)]
    parts = [prompts["passage"].format(section=" > ".join(passage.section)), passage.text, *filter(None, stems)]
    user = "\n\n".join([*parts, "\n".join(options)]) + f"\n\n({round})" * (round > 1)
    return Request(passage=passage, messages=_messages(prompts["reader"], user), wants="answers")
