"""Train, validation and test splits of an exam's chains."""

import hashlib
from collections.abc import Iterable, Sequence

from mqg_utils.records import SPLITS, Chain


def taught_in(chains: Iterable[Chain], places: set[str]) -> list[Chain]:
    """The chains most of whose questions are about these places of the textbook; those that name no place are kept.

    A place is the `source` of a chain, such as "module m46281", or the passage that settles a true proposition.
    """

    def taught(chain: Chain) -> list[bool]:
        if chain.source.startswith("module "):
            return [chain.source.split(" [")[0] in places]  # without the marks of flaws
        named = [{p.passage_id for p in q.propositions if p.is_true and p.passage_id} for q in chain.questions]
        return [bool(passages & places) for passages in named if passages]

    marked = [(chain, taught(chain)) for chain in chains]
    return [chain for chain, marks in marked if not marks or 2 * sum(marks) > len(marks)]


def assign_splits(
    chains: Sequence[Chain], shares: Sequence[float] = (0.3, 0.2, 0.5), seed: int = 0, taught: set[str] | None = None
) -> list[Chain]:
    """Give every chain without a split one, by `shares` of train, validation and test. Raises ValueError.

    Progressive and independent chains are split separately, ordered by a hash of seed and id. With places `taught`,
    the chains `taught_in` them are the test split: no fact that a student is examined on is in its training.
    """
    if taught is not None:
        test = {chain.chain_id for chain in taught_in(chains, taught)}
        chains = [c.model_copy(update={"split": "test" if c.chain_id in test else ""}) for c in chains]
        both = sum(shares[:2]) or 1.0
        shares = (shares[0] / both, shares[1] / both, 0.0)
    if len(shares) != 3 or abs(sum(shares) - 1) > 1e-9 or min(shares) < 0:
        raise ValueError(f"split shares {shares} must be three shares that add up to 1")
    assigned = {chain.chain_id: chain.split for chain in chains}
    for progressive in (True, False):
        ids = [c.chain_id for c in chains if not c.split and c.is_progressive == progressive]
        ids.sort(key=lambda i: hashlib.sha256(f"{seed} {i}".encode()).digest())
        ends = (round(shares[0] * len(ids)), round((shares[0] + shares[1]) * len(ids)))
        for rank, chain_id in enumerate(ids):
            assigned[chain_id] = SPLITS[sum(rank >= end for end in ends)]
    return [chain.model_copy(update={"split": assigned[chain.chain_id]}) for chain in chains]
