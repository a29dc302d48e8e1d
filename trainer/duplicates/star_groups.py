"""Star groups: joins near pairs to groups without chains, with the star algorithm (Aslam, Pelekhov and Rus, 2004)."""

from dataclasses import dataclass

import numpy as np

from trainer.duplicates.near_pairs import Pairs, Rows


@dataclass(frozen=True)
class StarGroup:
    """Positions that all form a near pair with the first one. score: the lowest similarity of these pairs."""

    members: list[int]
    score: float


def star_groups(pairs: Pairs, count: int) -> list[StarGroup]:
    """Join pairs among `count` vectors to groups, which do not overlap.

    The vector with the most pairs takes all its partners, then the one with the most pairs of those that are left, and
    so on. Two vectors of a group may differ more from each other, but not from the first one: so a chain of pairs never
    joins vectors that have no partner in common. A crop and a rotation are joined by their original.
    """
    degrees = np.bincount(pairs.first, minlength=count) + np.bincount(pairs.second, minlength=count)
    partners, scores, starts = _adjacency(pairs, count)
    # The strongest partners break ties, and then the position.
    strength = np.zeros(count)
    np.add.at(strength, pairs.first, pairs.scores)
    np.add.at(strength, pairs.second, pairs.scores)
    paired = np.flatnonzero(degrees)
    free = degrees > 0
    groups = []
    for centre in paired[np.lexsort((-strength[paired], -degrees[paired]))].tolist():
        if not free[centre]:
            continue
        row = slice(starts[centre], starts[centre + 1])
        joined = free[partners[row]]
        members = partners[row][joined]
        free[centre] = False
        free[members] = False
        if len(members):
            groups.append(StarGroup([centre, *members.tolist()], float(scores[row][joined].min())))
    return groups


def _adjacency(pairs: Pairs, count: int) -> tuple[Rows, np.ndarray, Rows]:
    """Return the partners and scores of all vectors, one after the other, and where each vector's begin [count + 1]."""
    one = np.concatenate([pairs.first, pairs.second])
    order = np.argsort(one, kind="stable")
    partners = np.concatenate([pairs.second, pairs.first])[order]
    scores = np.concatenate([pairs.scores, pairs.scores])[order]
    return partners, scores, np.searchsorted(one[order], np.arange(count + 1))
