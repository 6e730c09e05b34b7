"""A linear head is fitted to the leaf states, saved with the student, and read like any other readout."""

import numpy as np
import pytest
import torch
from families import WITHOUT_TREES, random_student
from small import gold, places, plain_ids, random_chains, tiny_student

from mqg_utils.evaluation import linear_head
from mqg_utils.evaluation.decision import Decision
from mqg_utils.evaluation.linear_head import PENALTIES, fit_head, leaf_states
from mqg_utils.evaluation.own_history import score_own
from mqg_utils.evaluation.scoring import score
from mqg_utils.student.loading import load, save

CHAINS = random_chains(12, seed=5, questions=2)


@torch.no_grad()
def test_states_are_those_of_plain_prompts():
    student = tiny_student()
    states, truth = leaf_states(student, CHAINS[:3], 128)
    expected = {}
    for one in CHAINS[:3]:
        for q, p in places(one):
            ids = plain_ids(student.tokenizer, one, q, p, "gold", gold(one))
            state = student.model.transformer(torch.tensor([ids])).last_hidden_state[0, -1]
            expected[tuple(np.round(state.numpy(), 3))] = one.questions[q].propositions[p].is_true
    assert {tuple(np.round(x, 3)): bool(is_true) for x, is_true in zip(states, truth, strict=True)} == expected


def test_the_fit_is_where_the_slope_is_zero(monkeypatch):
    monkeypatch.setattr(linear_head, "PENALTIES", (0.1,))
    head = fit_head(tiny_student(), CHAINS[:8], CHAINS[8:]).numpy()
    states, truth = leaf_states(tiny_student(), CHAINS[:8])
    scaled = (states - states.mean(0)) / (states.std(0) + 1e-6)
    p_true = 1 / (1 + np.exp(-(states @ head[:-1] + head[-1])))
    assert p_true.mean() == pytest.approx(truth.mean(), abs=1e-3)  # because of the constant
    weights = head[:-1] * (states.std(0) + 1e-6)
    assert (p_true - truth) @ scaled / len(truth) + 0.1 * weights == pytest.approx(np.zeros(len(weights)), abs=1e-3)


def test_the_penalty_is_chosen_on_the_validation_chains(monkeypatch):
    states, truth = leaf_states(tiny_student(), CHAINS[8:])

    def loss():
        head = fit_head(tiny_student(), CHAINS[:8], CHAINS[8:]).numpy()
        odds = states @ head[:-1] + head[-1]
        return float((np.logaddexp(0, odds) - truth * odds).mean())

    chosen, losses = loss(), []
    for penalty in PENALTIES:
        monkeypatch.setattr(linear_head, "PENALTIES", (penalty,))
        losses.append(loss())
    assert chosen == pytest.approx(min(losses), rel=1e-3)
    assert max(losses) > min(losses) + 1e-3


def test_a_head_is_saved_with_its_student_and_read_in_every_history(tmp_path):
    head = fit_head(tiny_student(), CHAINS[:8], CHAINS[8:])
    save(tiny_student()._replace(head=head), tmp_path)
    student = load(str(tmp_path))
    given = score(student, CHAINS[8:], ("gold", "none"), 128, readouts=("truth", "head")).of("head", "gold")
    states, _ = leaf_states(student, CHAINS[8:], 4096)
    assert sorted(given.values()) == pytest.approx(sorted(states @ head[:-1].numpy() + head[-1].item()), abs=1e-4)
    own = score_own(student, CHAINS[8:], Decision("head")).of("head", "predicted")
    first = {key: value for key, value in own.items() if key[1] == 0}
    assert first == pytest.approx({key: value for key, value in given.items() if key[1] == 0}, abs=1e-4)


def test_a_student_without_a_head_or_without_trees_says_so():
    with pytest.raises(ValueError, match="with a fitted head"):
        score(tiny_student(), CHAINS[:1], readouts=("head",))
    with pytest.raises(ValueError, match="needs token trees"):
        score(random_student(*WITHOUT_TREES["bloom"]), CHAINS[:1], readouts=("head",))
