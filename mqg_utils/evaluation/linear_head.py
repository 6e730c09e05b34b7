"""A linear probe: a head fitted to the hidden states of propositions whose truth is known (Alain and Bengio 2016)."""

from collections.abc import Sequence

import numpy as np
import torch

from mqg_utils.records import Chain
from mqg_utils.student.forward import context_of, hidden_states, leaf_inputs, require_trees, row_inputs
from mqg_utils.student.loading import Student
from mqg_utils.student.token_tree import grow_trees, pack

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # on the squared weights of standardised states, per proposition


@torch.inference_mode()
def leaf_states(student: Student, chains: Sequence[Chain], max_tokens: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states (N, D) at the leaves after the right answers to earlier questions, and which are true (N,)."""
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

    The penalty on the weights is the one with the lowest log-loss on `validation`.
    """
    from sklearn.linear_model import LogisticRegressionCV

    (states, gold), (others, others_gold) = (
        leaf_states(student, c, max_tokens) for c in (training_questions, validation)
    )
    n, mean, spread = len(gold), states.mean(0), states.std(0) + 1e-6
    split = (np.arange(n), np.arange(n, n + len(others_gold)))
    fit = LogisticRegressionCV(
        Cs=[1 / (n * penalty) for penalty in PENALTIES], cv=[split], scoring="neg_log_loss", refit=False, tol=1e-6,
        max_iter=1000, l1_ratios=(0,), use_legacy_attributes=False,
    ).fit((np.concatenate([states, others]) - mean) / spread, np.concatenate([gold, others_gold]))  # fmt: skip
    weights = fit.coef_[0] / spread
    return torch.tensor([*weights, fit.intercept_[0] - weights @ mean], dtype=torch.float32)
