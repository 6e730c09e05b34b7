"""A linear head is fitted to what the leaves hold, saved with the student, and read like any other readout."""

import numpy as np
import pytest
import torch
from small import gold, places, plain_ids, random_chains, tiny_student

from mqg_utils.evaluation.decision import Decision
from mqg_utils.evaluation.linear_head import PENALTIES, _fit, fit_head, leaf_states
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import score
from mqg_utils.evaluation.unpacked import score_plain
from mqg_utils.student.loading import load, save

CHAINS = random_chains(12, seed=5, questions=2)


@torch.no_grad()
def test_states_are_those_of_plain_prompts():
    student = tiny_student()
    states, truth = leaf_states(student, CHAINS[:3], 128)
    wanted = {}
    for one in CHAINS[:3]:
        for q, p in places(one):
            ids = plain_ids(student.tokenizer, one, q, p, "gold", gold(one))
            state = student.model.transformer(torch.tensor([ids])).last_hidden_state[0, -1]
            wanted[tuple(np.round(state.numpy(), 3))] = one.questions[q].propositions[p].is_true
    assert {tuple(np.round(state, 3)): bool(is_true) for state, is_true in zip(states, truth, strict=True)} == wanted


def test_a_fit_is_where_the_slope_is_zero():
    rng = np.random.default_rng(0)
    states, truth = rng.normal(size=(40, 3)), rng.random(40) < 0.4
    weights = _fit(states, truth, 0.1)
    p_true = 1 / (1 + np.exp(-(states @ weights[:-1] + weights[-1])))
    assert p_true.mean() == pytest.approx(truth.mean(), abs=1e-4)  # what the constant makes so
    assert (p_true - truth) @ states / 40 + 0.1 * weights[:-1] == pytest.approx(np.zeros(3), abs=1e-4)


def test_the_penalty_is_chosen_on_the_validation_chains(monkeypatch):
    student = tiny_student()
    lost = []
    for penalty in PENALTIES:
        monkeypatch.setattr("mqg_utils.evaluation.linear_head.PENALTIES", (penalty,))
        lost.append(loss_of(fit_head(student, CHAINS[:8], CHAINS[8:])))
    monkeypatch.undo()
    assert loss_of(fit_head(student, CHAINS[:8], CHAINS[8:])) == pytest.approx(min(lost), rel=1e-4)
    assert max(lost) > min(lost) + 1e-3


def loss_of(head):
    states, truth = leaf_states(tiny_student(), CHAINS[8:])
    odds = states @ head[:-1].numpy() + head[-1].item()
    return float((np.logaddexp(0, odds) - truth * odds).mean())


def test_a_head_is_saved_with_its_student_and_read_in_every_history(tmp_path):
    head = fit_head(tiny_student(), CHAINS[:8], CHAINS[8:])
    save(tiny_student()._replace(head=head), tmp_path)
    student = load(str(tmp_path))
    scored = score(student, CHAINS[8:], ("gold", "none"), 128, readouts=("truth", "head"))
    states, _ = leaf_states(student, CHAINS[8:], 4096)
    wanted = sorted((states @ head[:-1].numpy() + head[-1].item()).tolist())
    assert sorted(scored.places("head", "gold").values()) == pytest.approx(wanted, abs=1e-4)
    own = score_own(student, CHAINS[8:], Decision("head"))
    first = {k[1:]: v for k, v in own.readouts["head"].items() if k[2] == 0}
    assert first == pytest.approx({k: v for k, v in scored.places("head", "gold").items() if k[1] == 0}, abs=1e-4)


def test_a_student_without_a_head_or_without_trees_says_so():
    with pytest.raises(ValueError, match="without a fitted head"):
        score(tiny_student(), CHAINS[:1], readouts=("head",))
    with pytest.raises(ValueError, match="token trees only"):
        score_plain(tiny_student(), CHAINS[:1], readouts=("head",))
