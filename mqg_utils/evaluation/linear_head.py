"""A linear probe: a head fitted to the hidden states of propositions whose truth is known (Alain and Bengio 2016)."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import minimize

from mqg_utils.records import Chain
from mqg_utils.student.forward import context_of, hidden_states, leaf_inputs, require_trees, row_inputs
from mqg_utils.student.loading import Student
from mqg_utils.student.token_tree import grow_trees, pack

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # on the squared weights of standardised states, a proposition


@torch.inference_mode()
def leaf_states(student: Student, chains: Sequence[Chain], max_tokens: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states (N, D) at the leaves, after the right answers to earlier questions, and which are true (N,)."""
    require_trees(student.model)
    trees, _ = grow_trees(chains, student.tokenizer, ("gold",), context_of(student.model))
    device, states, gold = student.model.device, [], []
    for row in pack(trees, max_tokens):
        hidden = hidden_states(student.model, {name: x.to(device) for name, x in row_inputs(row).items()})
        states.append(hidden[leaf_inputs(row)["leaf"].to(device)].float().cpu().numpy())
        gold += [leaf.is_true for leaf in row.leaves]
    return np.concatenate(states), np.array(gold)


def fit_head(
    student: Student, training_questions: Sequence[Chain], validation: Sequence[Chain], max_tokens: int = 1024
) -> torch.Tensor:
    """Logistic regression on the leaf states of the training questions: (D + 1,), the constant last.

    Weights are penalised; by how much is chosen by the log-loss on `validation`.
    """
    states, gold = leaf_states(student, training_questions, max_tokens)
    held, held_gold = leaf_states(student, validation, max_tokens)
    mean, spread = states.mean(0), states.std(0) + 1e-6
    fits = [_fit((states - mean) / spread, gold, penalty) for penalty in PENALTIES]
    losses = [_log_loss(weights, (held - mean) / spread, held_gold) for weights in fits]
    best = fits[int(np.argmin(losses))]
    scaled = best[:-1] / spread
    return torch.tensor([*scaled, best[-1] - scaled @ mean], dtype=torch.float32)


def _log_loss(weights: np.ndarray, states: np.ndarray, gold: np.ndarray) -> float:
    odds = states @ weights[:-1] + weights[-1]
    return float((np.logaddexp(0, odds) - gold * odds).mean())


def _fit(states: np.ndarray, gold: np.ndarray, penalty: float) -> np.ndarray:
    n = len(gold)

    def loss_and_slope(weights: np.ndarray) -> tuple[float, np.ndarray]:
        error = (0.5 * (1 + np.tanh(0.5 * (states @ weights[:-1] + weights[-1]))) - gold) / n
        slope = np.append(error @ states + penalty * weights[:-1], error.sum())
        return _log_loss(weights, states, gold) + penalty / 2 * float(weights[:-1] @ weights[:-1]), slope

    return minimize(loss_and_slope, np.zeros(states.shape[1] + 1), jac=True, method="L-BFGS-B").x
