"""Every chain as the report's page shows it: short keys, compressed, because the page is sent by mail."""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from mqg_utils.analysis.attribution import MEANINGS
from mqg_utils.analysis.results import Row
from mqg_utils.records import Chain, Prediction, Question
from mqg_utils.report.findings import Findings
from mqg_utils.student.prompts import wording_for
from mqg_utils.workflow.conditions import is_human

PASSAGE_CHARACTERS = 1_500_000  # of passages in the page; beyond it each is cut to its share
NEAREST = 2  # passages and training questions linked to a question


def chain_data(f: Findings) -> dict[str, Any]:
    """Every chain with the answers of every condition, the chains with the fewest points of the last one first.

    Of several seeds the first is shown; probabilities are in thousandths.
    """
    run, seed, names = f.run, f.run.seeds[0], list(MEANINGS)
    answers = {
        (p.history, p.condition, p.chain_id, p.question_id, p.proposition): p for p in run.predictions if p.seed == seed
    }
    ticks, others = {place: p.predicted for place, p in answers.items()}, [h for h in f.histories if h != f.shown]
    points = {
        (s.condition, s.chain_id, s.question_id): s.ecn for s in f.scores if s.history == f.shown and s.seed == seed
    }
    tags = {
        (c, o.chain_id, o.question_id): [names.index(name) for name in o.names]
        for c, outcomes in f.outcomes.items() for o in outcomes if o.seed == seed
    }  # fmt: skip
    named = {p.passage_id for c in run.exam for q in c.questions for p in q.propositions}
    near = {link.place for links in f.links.values() for link in links.passages[:NEAREST]}
    passages = _numbered(near | {i for i, p in enumerate(run.passages) if p.passage_id in named})
    generated = _numbered({link.place for links in f.links.values() for link in links.training_questions[:NEAREST]})
    room = PASSAGE_CHARACTERS // max(len(passages), 1)

    def question(chain: Chain, q: Question) -> Row:
        key, links = (chain.chain_id, q.question_id), f.links.get((chain.chain_id, q.question_id))
        return {
            "id": q.question_id, "s": q.stem, "k": q.kind,
            "e": [points.get((c, *key)) for c in run.conditions],
            "t": [tags.get((c, *key), []) for c in run.conditions],
            "np": [passages[link.place] for link in links.passages[:NEAREST]] if links else [],
            "nl": [generated[link.place] for link in links.training_questions[:NEAREST]] if links else [],
            "p": [
                {"x": p.text, "g": int(p.is_true), "w": p.weight, "b": p.explanation, "q": p.quote, "s": p.passage_id,
                 "a": [_answer(answers.get((f.shown, c, *key, i))) for c in run.conditions],
                 "h": [[ticks.get((h, c, *key, i)) for h in others] for c in run.conditions]}
                for i, p in enumerate(q.propositions)
            ],
        }  # fmt: skip

    chains = {chain.chain_id: chain for chain in run.exam}
    return {
        "conditions": list(run.conditions), "focus": run.conditions.index(f.focus),
        "references": [run.conditions.index(f.comparison.references.get(c, c)) for c in run.conditions],
        "tags": names, "meanings": list(MEANINGS.values()),
        "histories": [f.shown, *others],
        "students": [not is_human(c) and not c.endswith("server") for c in run.conditions],
        "wordings": {chain.language: wording_for(chain.language)._asdict() for chain in run.exam},
        "chains": [
            {"id": chain.chain_id, "case": chain.vignette, "lang": chain.language, "dp": int(chain.is_progressive),
             "qs": [question(chain, q) for q in chain.questions]}
            for chain in map(chains.__getitem__, f.ranked)
        ],
        "passages": [
            {"id": p.passage_id, "at": " › ".join([p.book, *p.section]), "x": p.text[:room], "cut": len(p.text) > room}
            for p in map(run.passages.__getitem__, passages)
        ],
        "training_questions": [
            {"s": q.stem, "from": q.propositions[0].passage_id, "p": [[p.text, int(p.is_true)] for p in q.propositions]}
            for q in map(f.training_questions.__getitem__, generated)
        ],
    }  # fmt: skip


def _numbered(indices: set[int]) -> dict[int, int]:
    """index -> its number among those that are in the page."""
    return {index: number for number, index in enumerate(sorted(indices))}


def _answer(p: Prediction | None) -> list[Any]:
    """[P(true) in thousandths or null, 1 for a tick, 0 for none, or the word for what went wrong]."""
    if p is None or p.predicted is None:
        return [None, p.status if p else "missing"]
    return [round(1000 * (p.p_true or 0.0)), int(p.predicted)]


def packed(data: Mapping[str, Any]) -> str:
    """JSON, gzip, base64: no character of it means anything to HTML, and texts shrink to a quarter."""
    raw = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()
