"""Attention that passes over what a tree hides, held against attention over every place."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from mqg_utils.student.attention import BLOCK, tree_attention
from mqg_utils.student.token_tree import Tree, ancestor_mask, join

HEADS, GROUPS, WIDTH = 4, 2, 16


def line(n, first=-1):
    return Tree([5] * n, [first, *range(n - 1)], [])


def random_tree(n, seed):
    """Mostly runs, with a branch now and then, and a new root."""
    draw = np.random.default_rng(seed)
    kinds = draw.random(n)
    parents = [-1 if kinds[i] < 0.01 else int(draw.integers(i)) if kinds[i] < 0.1 else i - 1 for i in range(1, n)]
    return Tree([5] * n, [-1, *parents], [])


def tensors(n_query, n_key, seed=0):
    torch.manual_seed(seed)
    shapes = [(1, HEADS, n_query, WIDTH), (1, GROUPS, n_key, WIDTH), (1, GROUPS, n_key, WIDTH)]
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def dense(query, key, value, mask, scaling=None):
    """torch's attention over every place, the groups repeated, as (1, T, H, D)."""
    key, value = (x.repeat_interleave(HEADS // GROUPS, 1) for x in (key, value))
    return functional.scaled_dot_product_attention(query, key, value, mask, scale=scaling).transpose(1, 2)


ROWS = {
    "one line": [line(300)],
    "lines side by side": [line(200), line(90), line(150)],
    "a tree": [random_tree(400, 1)],
    "trees side by side": [random_tree(n, seed) for seed, n in enumerate((130, 7, 260, 128, 45))],
    "a block and one": [random_tree(BLOCK + 1, 2)],
}
MODULE = SimpleNamespace(num_key_value_groups=HEADS // GROUPS, is_causal=True)


@pytest.mark.parametrize("scaling", [None, 0.5])
@pytest.mark.parametrize("row", ROWS)
def test_attention_over_a_tree_is_that_over_every_place_masked(row, scaling):
    mask = torch.from_numpy(ancestor_mask(join(ROWS[row]).parents))[None, None]
    given = tensors(*mask.shape[2:])
    got, weights = tree_attention(MODULE, *given, mask, scaling=scaling)
    wanted = dense(*given, mask, scaling)
    assert weights is None and got.shape == wanted.shape
    assert torch.allclose(got, wanted, atol=1e-5)
    assert got.abs().max() > 1
    pull = torch.randn_like(got)
    gradients = [torch.autograd.grad((x * pull).sum(), given) for x in (got, wanted)]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-5) and b.abs().max() > 0.1


def test_attention_on_top_of_a_cache():
    tree = torch.from_numpy(ancestor_mask(random_tree(300, 3).parents))
    past = torch.zeros(300, 170, dtype=torch.bool)
    past[:140, :100], past[140:, 100:] = True, True  # two chains, each on its own trunk
    mask = torch.cat([past, tree], 1)[None, None]
    given = tensors(300, 470)
    assert torch.allclose(tree_attention(MODULE, *given, mask)[0], dense(*given, mask), atol=1e-5)


def test_attention_passes_over_what_no_query_of_a_block_sees(monkeypatch):
    keys = []
    real = functional.scaled_dot_product_attention

    def counted(query, key, *rest, **options):
        keys.append(key.shape[2])
        return real(query, key, *rest, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    mask = torch.from_numpy(ancestor_mask(join([line(2 * BLOCK), line(BLOCK + 10)]).parents))[None, None]
    with torch.no_grad():
        tree_attention(MODULE, *tensors(*mask.shape[2:]), mask)
    # the first line's two blocks, the second's one, and the ten left over, who see all of their line
    assert keys == [BLOCK, 2 * BLOCK, BLOCK, BLOCK + 10]


def test_gradients_in_half_precision_are_near_those_in_full():
    mask = torch.from_numpy(ancestor_mask(random_tree(400, 1).parents))[None, None]
    full = tensors(400, 400)
    half = [x.detach().bfloat16().requires_grad_() for x in full]
    outputs = [tree_attention(MODULE, *given, mask)[0] for given in (full, half)]
    pull = torch.randn_like(outputs[0])
    for a, b in zip(
        *(torch.autograd.grad(x, g, pull.to(x)) for x, g in zip(outputs, (full, half), strict=True)), strict=True
    ):
        assert b.dtype == torch.bfloat16
        assert (a - b.float()).norm() < 0.01 * a.norm()
