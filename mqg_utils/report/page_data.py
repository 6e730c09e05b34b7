"""Every chain as the report's page shows it: short keys, compressed, since the page is sent by mail."""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mqg_utils.analysis.attribution import MEANINGS
from mqg_utils.analysis.coverage import CELLS
from mqg_utils.analysis.metrics import QuestionScore
from mqg_utils.analysis.positions import worst_first
from mqg_utils.records import Chain, Prediction, Question
from mqg_utils.report.findings import Findings, Row

PASSAGE_CHARACTERS = 1_500_000  # of passages in the page; beyond it each is cut to its share


def shown_chains(f: Findings) -> dict[str, list[QuestionScore]]:
    """chain -> its questions as the page shows them: of the first seed, the fewest ECN points first."""
    return worst_first(s for s in f.scores_of(f.focus, f.own) if s.seed == f.run.seeds[0])


def chain_data(f: Findings) -> dict[str, Any]:
    """Every chain with the answers of every condition, the chains with the fewest points of the last one first.

    Of several seeds the first is shown; probabilities are in thousandths.
    """
    run, seed = f.run, f.run.seeds[0]
    said = {
        (p.condition, p.chain_id, p.question_id, p.proposition): p
        for c in run.conditions
        for p in f.said(c, f.own)
        if p.seed == seed
    }
    points = {
        (s.condition, s.chain_id, s.question_id): s.ecn
        for c in run.conditions
        for s in f.scores_of(c, f.own)
        if s.seed == seed
    }
    names = list(MEANINGS)
    tags = {
        (c, x.chain_id, x.question_id): [names.index(n) for n in x.names]
        for c, fates in f.fates.items()
        for x in fates
        if x.seed == seed
    }
    named = _named(run.exam)
    linked = _places(
        {link.place for t in f.trails.values() for link in t.passages[:2]}
        | {i for i, p in enumerate(run.passages) if p.passage_id in named}
    )
    taught = _places({link.place for t in f.trails.values() for link in t.training_questions[:2]})
    texts = {chain.chain_id: chain for chain in run.exam}

    def question(chain: Chain, q: Question) -> Row:
        at = f.trails.get((chain.chain_id, q.question_id))
        return {
            "id": q.question_id,
            "s": q.stem,
            "k": q.kind,
            "e": [points.get((c, chain.chain_id, q.question_id)) for c in run.conditions],
            "t": [tags.get((c, chain.chain_id, q.question_id), []) for c in run.conditions],
            "c": CELLS.index(at.cell) if at else -1,
            "np": [linked[link.place] for link in at.passages[:2]] if at else [],
            "nl": [taught[link.place] for link in at.training_questions[:2]] if at else [],
            "p": [
                {
                    "x": p.text,
                    "g": int(p.is_true),
                    "w": p.weight,
                    "b": p.explanation,
                    "q": p.quote,
                    "s": p.passage_id,
                    "a": [_answer(said.get((c, chain.chain_id, q.question_id, i))) for c in run.conditions],
                }
                for i, p in enumerate(q.propositions)
            ],
        }

    room = PASSAGE_CHARACTERS // max(len(linked), 1)
    return {
        "conditions": list(run.conditions),
        "focus": run.conditions.index(f.focus),
        "references": [run.conditions.index(f.ablation.references.get(c, c)) for c in run.conditions],
        "tags": names,
        "meanings": list(MEANINGS.values()),
        "cells": list(CELLS),
        "chains": [
            {
                "id": chain.chain_id,
                "case": chain.vignette,
                "lang": chain.language,
                "dp": int(chain.is_progressive),
                "qs": [question(chain, q) for q in chain.questions],
            }
            for chain in (texts[name] for name in shown_chains(f))
        ],
        "passages": [
            {"id": p.passage_id, "at": " › ".join([p.book, *p.section]), "x": p.text[:room], "cut": len(p.text) > room}
            for p in (run.passages[i] for i in linked)
        ],
        "training_questions": [
            {"s": q.stem, "from": q.propositions[0].passage_id, "p": [[p.text, int(p.is_true)] for p in q.propositions]}
            for q in (f.training_questions[i] for i in taught)
        ],
    }


def _places(indices: set[int]) -> dict[int, int]:
    """index -> its place among those that are in the page."""
    return {index: place for place, index in enumerate(sorted(indices))}


def _named(exam: Sequence[Chain]) -> set[str]:
    return {p.passage_id for c in exam for q in c.questions for p in q.propositions if p.passage_id}


def _answer(p: Prediction | None) -> list[Any]:
    """[P(true) in thousandths or null, 1 for a tick, 0 for none, or the word for what went wrong]."""
    if p is None or p.predicted is None:
        return [None, p.status if p else "missing"]
    return [round(1000 * (p.p_true or 0.0)), int(p.predicted)]


def packed(data: Mapping[str, Any]) -> str:
    """JSON, gzip, base64: no character of it means anything to HTML, and texts take a quarter of their size."""
    raw = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()
