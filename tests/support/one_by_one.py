"""Readouts of plain prompts, each put together by hand and forwarded alone: what scoring is compared with."""

import statistics

import torch
from small import alone_ids, gold, plain_ids

from mqg_utils.evaluation.decision import READOUTS, Decision, ticks
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import score
from mqg_utils.records import HISTORIES
from mqg_utils.student.prompts import wording_for

GIVEN = ("gold", "none")
HALF = Decision()
TOLERANCE = 1e-4
SPREAD = {"truth": 0.3, "likelihood": 1.0, "pmi": 1.0}


def own_ticks(question, values, threshold=0.0):
    """What a student with these readouts ticks: above their mean by more than the threshold, or the highest ones."""
    if question.kind != "multiple":
        return ticks(question.kind, values, question.n_true)
    mean = statistics.fmean(values) if len(values) > 1 else 0.0
    return [x - mean - threshold > 1e-9 for x in values]


class OneByOne:
    def __init__(self, student):
        self.student, self.known = student, {}

    def forward(self, student, ids, n_text, n_after):
        """The logits at the last token, and the log-likelihood of the proposition's own tokens, in nats."""
        key = (id(student), *ids, n_text)
        if key not in self.known:
            with torch.inference_mode():
                logits = student.model(torch.tensor([ids])).logits[0].double()
            end = len(ids) - n_after
            own = [float(logits[at - 1].log_softmax(-1)[ids[at]]) for at in range(end - n_text, end)]
            self.known[key] = logits[-1].tolist(), sum(own)
        return self.known[key]

    def read(self, chain, q, p, history, answers):
        tokenizer, wording = self.student.tokenizer, wording_for(chain.language)
        ids, text = plain_ids(tokenizer, chain, q, p, history, answers), chain.questions[q].propositions[p].text
        n_text, n_after = (
            len(tokenizer(part, add_special_tokens=False)["input_ids"]) for part in (" " + text, wording.after)
        )
        last, likelihood = self.forward(self.student, ids, n_text, n_after)
        true, false = (last[tokenizer(word)["input_ids"][0]] for word in (wording.true, wording.false))
        untouched = self.student.untouched or self.student
        _, bare = self.forward(untouched, alone_ids(tokenizer, chain, q, p), n_text, 0)
        return {"truth": true - false, "likelihood": likelihood, "pmi": likelihood - bare}

    def all(self, chains, histories=HISTORIES, decision=HALF):
        """All readouts, as Scored has them. Under `predicted` the answers of `decision` are the history."""
        values = {readout: {} for readout in READOUTS}
        for c, chain in enumerate(chains):
            for history in histories:
                answers = gold(chain) if history == "gold" else []
                for q, question in enumerate(chain.questions):
                    read = [self.read(chain, q, p, history, answers) for p in range(len(question.propositions))]
                    for p, by_readout in enumerate(read):
                        for readout, value in by_readout.items():
                            values[readout][history, c, q, p] = value
                    if history == "predicted":
                        own = [by_readout[decision.readout] for by_readout in read]
                        answers.append(own_ticks(question, own, decision.threshold))
        return values


def difference(values, expected):
    assert values.keys() == expected.keys()
    return max(abs(values[key] - expected[key]) for key in expected)


def compare(student, chains, readouts=READOUTS, max_tokens=1024):
    """The largest difference to one-by-one scoring; the scores must spread, or a wrong mask would not show."""
    reference, differences = OneByOne(student), []
    given, expected = score(student, chains, GIVEN, max_tokens, readouts), reference.all(chains, GIVEN)
    for readout in readouts:
        decision = Decision(readout)
        own = score_own(student, chains, decision, max_tokens)
        assert list(own.readouts) == [readout]
        values = given.readouts[readout] | own.readouts[readout]
        plain = expected[readout] | reference.all(chains, ("predicted",), decision)[readout]
        assert statistics.stdev(plain.values()) > SPREAD[readout]
        differences.append(difference(values, plain))
    return max(differences)
