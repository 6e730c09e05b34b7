"""Readouts of plain prompts, each put together by hand and forwarded alone: what scoring is compared with."""

import statistics

import torch
from small import gold, opening, plain_ids

from mqg_utils.evaluation.decision import READOUTS, Decision, ticks
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import score
from mqg_utils.records import HISTORIES
from mqg_utils.student.prompts import wording_for

GIVEN = ("gold", "none")
HALF = Decision()
TOLERANCE = 1e-4
SPREAD = {"truth": 0.3, "likelihood": 0.1, "pmi": 0.1}  # scores closer than this would hide a wrong mask


def alone_ids(tokenizer, chain, q, p):
    """A proposition with neither case nor question, and without a label."""
    pieces = [opening(chain, q), " " + chain.questions[q].propositions[p].text]
    return [token for piece in pieces for token in tokenizer(piece, add_special_tokens=False)["input_ids"]]


class OneByOne:
    def __init__(self, student, readouts=READOUTS):
        self.student, self.readouts = student, readouts
        self.known = {}

    def count(self, text):
        return len(self.student.tokenizer(text, add_special_tokens=False)["input_ids"])

    def forward(self, ids, n_text, n_after):
        """The logits at the last token, and the log-probability of the proposition's own tokens."""
        if (*ids, n_text) not in self.known:
            with torch.inference_mode():
                logits = self.student.model(torch.tensor([ids])).logits[0].double()
            end = len(ids) - n_after
            own = [float(logits[at - 1].log_softmax(-1)[ids[at]]) for at in range(end - n_text, end)]
            self.known[*ids, n_text] = logits[-1].tolist(), sum(own)
        return self.known[*ids, n_text]

    def likelihood(self, ids, text, n_after):
        return self.forward(ids, self.count(" " + text), n_after)[1] / len(text)

    def read(self, chain, q, p, history, answers):
        tokenizer, wording = self.student.tokenizer, wording_for(chain.language)
        ids, text = plain_ids(tokenizer, chain, q, p, history, answers), chain.questions[q].propositions[p].text
        n_after = self.count(wording.after)
        last, _ = self.forward(ids, self.count(" " + text), n_after)
        true, false = (last[tokenizer(word)["input_ids"][0]] for word in (wording.true, wording.false))
        read = {"truth": true - false, "likelihood": self.likelihood(ids, text, n_after)}
        if "pmi" in self.readouts:
            read["pmi"] = read["likelihood"] - self.likelihood(alone_ids(tokenizer, chain, q, p), text, 0)
        return read

    def all(self, chains, histories=HISTORIES, decision=HALF):
        """All readouts, as Scored has them. Under `predicted` the answers of `decision` are the history."""
        values = {readout: {} for readout in READOUTS}
        for c, chain in enumerate(chains):
            for history in histories:
                answers = gold(chain) if history == "gold" else []
                for q, question in enumerate(chain.questions):
                    read = [self.read(chain, q, p, history, answers) for p in range(len(question.propositions))]
                    for p, by_readout in enumerate(read):
                        for readout in by_readout:
                            values[readout][history, c, q, p] = by_readout[readout]
                    if history == "predicted":
                        p_true = [decision.p_true(by_readout[decision.readout]) for by_readout in read]
                        answers.append(ticks(question.kind, p_true, question.n_true))
        return values


def difference(values, expected):
    assert values.keys() == expected.keys()
    return max(abs(values[key] - expected[key]) for key in expected)


def compare(student, chains, readouts=READOUTS, max_tokens=1024):
    """The largest difference to one-by-one scoring; no decision may differ, and the scores must spread."""
    reference, differences = OneByOne(student, readouts), []
    given, expected = score(student, chains, GIVEN, max_tokens, readouts), reference.all(chains, GIVEN)
    for readout in readouts:
        # a threshold in the middle of the values, so that about half is ticked
        decision = Decision(readout, threshold=statistics.fmean(expected[readout].values()))
        own = score_own(student, chains, decision, max_tokens)
        assert list(own.readouts) == [readout]
        values = given.readouts[readout] | own.readouts[readout]
        plain = expected[readout] | reference.all(chains, ("predicted",), decision)[readout]
        assert statistics.stdev(plain.values()) > SPREAD[readout]
        differences.append(difference(values, plain))
        assert [k for k in plain if (decision.p_true(values[k]) > 0.5) != (plain[k] > decision.threshold)] == []
    return max(differences)
