"""Simulated exams and examinees, whose errors propagate with a known odds ratio."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mqg_utils.analysis.metrics import QuestionScore
from mqg_utils.analysis.results import Run
from mqg_utils.records import HISTORIES, Chain, Passage, Prediction, write_json, write_jsonl
from mqg_utils.workflow.manifest import digest, results

PROPOSITIONS = 5


def answers(chains: int, odds_ratio: float, seed: int = 0, questions: int = 5) -> list[QuestionScore]:
    """Scores under the three histories, of cases and questions of unequal difficulty and with a trend along the case.

    log-odds of a wrong question: -0.3 + 0.1 * position + case + question, and log(odds_ratio) more if the answer in
    its history before it is wrong. Under gold and none history nothing is added.
    """
    rng = np.random.default_rng(seed)
    case, question = rng.normal(0, 1.0, (chains, 1)), rng.normal(0, 0.7, (chains, questions))
    level = -0.3 + 0.1 * np.arange(1, questions + 1) + case + question
    wrong = {h: rng.random(level.shape) < 1 / (1 + np.exp(-level)) for h in ("gold", "none")}
    predicted = np.zeros(level.shape, dtype=bool)
    for k in range(questions):
        added = np.log(odds_ratio) * predicted[:, k - 1] if k else 0.0
        predicted[:, k] = rng.random(chains) < 1 / (1 + np.exp(-level[:, k] - added))
    return [
        QuestionScore("c", 0, history, f"c{c:04}", f"c{c:04}-{k + 1}", k + 1, PROPOSITIONS, PROPOSITIONS - bad,
                      float(not bad), float(not bad), 0.5 if bad else 1.0)
        for history, table in (*wrong.items(), ("predicted", predicted))
        for c, row in enumerate(table.tolist())
        for k, bad in enumerate(row)
    ]  # fmt: skip


WORDS = (
    "artery", "vein", "nerve", "fever", "drug", "dose", "serum", "kidney", "liver", "lesion", "biopsy", "scan",
    "relapse", "onset", "remission", "therapy", "chronic", "acute", "normal", "raised", "lowered", "enlarged", "tender",
    "firm", "mobile", "painless", "bilateral", "proximal", "distal",
)  # fmt: skip


def exam(chains: int, questions: int = 5, propositions: int = 5, seed: int = 0) -> list[Chain]:
    """Progressive chains of text about as long as a real exam's, with explanations and quotes."""
    rng = np.random.default_rng(seed)

    def text(n: int) -> str:
        return " ".join(rng.choice(WORDS, n)) + f" {rng.integers(1, 999)}."

    return [
        Chain.model_validate(
            {
                "chain_id": f"c{c:04}", "vignette": text(60), "language": "en",
                "questions": [
                    {
                        "question_id": f"c{c:04}-{q}", "stem": text(14),
                        "propositions": [
                            {"text": text(11), "is_true": bool(rng.random() < 0.5), "explanation": text(9),
                             "quote": text(12), "passage_id": f"p{rng.integers(200)}"}
                            for _ in range(propositions)
                        ],
                    }
                    for q in range(questions)
                ],
            }
        )
        for c in range(chains)
    ]  # fmt: skip


def predictions(
    asked: Sequence[Chain],
    condition: str,
    skill: float = 0.3,
    trained: int = 0,
    histories: Sequence[str] = HISTORIES,
) -> list[Prediction]:
    """P(true) near the truth by `skill`; each history is drawn separately, so that errors differ between them."""
    rng = np.random.default_rng([trained, *condition.encode()])
    made = []
    for history in histories:
        for chain in asked:
            for position, question in enumerate(chain.questions, 1):
                for i, p in enumerate(question.propositions):
                    p_true = float(np.clip(rng.normal(0.5 + skill * (p.is_true - 0.5), 0.2), 0.001, 0.999))
                    made.append(
                        Prediction.model_construct(
                            condition=condition, seed=trained, history=history, chain_id=chain.chain_id,
                            question_id=question.question_id, position=position, proposition=i, kind=question.kind,
                            weight=p.weight, gold=p.is_true, p_true=p_true, predicted=p_true > 0.5, status="scored",
                        )
                    )  # fmt: skip
    return made


def run(
    asked: Sequence[Chain],
    conditions: Sequence[str] = ("base", "books"),
    seeds: Sequence[int] = (0,),
    histories: Sequence[str] = HISTORIES,
    passages: int = 0,
    name: str = "simulated",
) -> Run:
    """A run whose later conditions know more."""
    rng = np.random.default_rng(1)
    made = [
        p for i, c in enumerate(conditions) for s in seeds for p in predictions(asked, c, 0.3 + 0.2 * i, s, histories)
    ]
    books = [
        Passage(
            passage_id=f"p{i}", book="a book", section=("part", f"section {i}"), text=" ".join(rng.choice(WORDS, 200))
        )
        for i in range(passages)
    ]
    references = dict.fromkeys(conditions[1:], conditions[0])
    training_questions = exam(passages, 1, seed=2) if passages else []
    return Run(name, list(asked), made, tuple(conditions), tuple(seeds), references, books, training_questions)


# --- a run's folder ---


def write_run(folder: Path, run: Run) -> Path:
    """A run's folder as its stages leave it, without the stages that the report can do without."""
    write_jsonl(folder / "01_corpus" / "exam.jsonl", [c.model_copy(update={"split": "test"}) for c in run.exam])
    seal(folder, "01_corpus")
    for condition in run.conditions:
        for seed in run.seeds:
            mine = [p for p in run.predictions if (p.condition, p.seed) == (condition, seed)]
            name = condition if seed == run.seeds[0] else f"{condition}@{seed}"
            write_jsonl(folder / "05_evaluate" / name / "predictions.jsonl", mine)
            seal(folder, "05_evaluate", name, condition=condition, seed=seed)
    return folder


def seal(folder: Path, stage: str, variant: str = "", seconds: float = 0.0, **parameters: Any) -> None:
    """The manifest that says a stage is complete."""
    made = folder / stage / variant
    manifest = {
        "stage": stage, "variant": variant, "parameters": parameters, "inputs": {}, "versions": {"python": "3"},
        "outputs": {p.relative_to(made).as_posix(): digest(p) for p in results(made)},
        "git_commit": "abc", "hardware": "a machine", "started": "2026-01-02T03:04:05", "seconds": seconds,
    }  # fmt: skip
    write_json(made / "manifest.json", manifest)
