"""The section of the report on keys of the exam that readers dispute, and the scores without them."""

from mqg_utils.analysis.metrics import estimate
from mqg_utils.analysis.results import Row
from mqg_utils.report.findings import Findings, Panel, Ref
from mqg_utils.verification import review


def disputed(f: Findings) -> list[Panel] | str:
    pairs = [pair for folder in f.run.folders for pair in review.disputes(folder, f.run.exam)]
    if not pairs:
        return "Nobody has disputed a key of this exam or commented on it."
    rows: list[Row] = [
        {"question": Ref(f"{item.chain.chain_id}, {len(item.earlier) + 1}", *_key(item)), "by": r.reviewer,
         "key": f"disputed: {r.reason}" if r.decision == "rejected" else "", "comment": r.comment}
        for item, r in pairs
    ]  # fmt: skip
    keys = {_key(item) for item, r in pairs if r.decision == "rejected"}
    reading = f"{len(keys)} of {sum(len(c.questions) for c in f.run.exam)} questions have a disputed key."
    panels = [Panel("disputes", "Disputed keys and comments", reading, rows)]
    if keys:
        scores: list[Row] = []
        for c in f.run.conditions:
            left = [s for s in f.scores_of[c, f.shown] if (s.chain_id, s.question_id) not in keys]
            parts = {"": f.scores_of[c, f.shown], ", without": left}
            measures = (("accuracy", "propositions right"), ("ecn", "ECN points"))
            estimates = {
                f"{label}{end}": estimate(s, m, **f.draws) for m, label in measures for end, s in parts.items()
            }
            scores.append({"condition": c, **estimates})
        reading = f"Under {f.shown} history, with all questions and without those whose key is disputed."
        panels.append(Panel("undisputed", "Scores without the disputed questions", reading, scores))
    return panels


def _key(item: review.Item) -> tuple[str, str]:
    return item.chain.chain_id, item.question.question_id
