"""Permutation test: are the images of a group more similar in the frozen space than by chance?"""

import numpy as np

from trainer.learning.dataset import UNGROUPED, Labels, Mask, Matrix, TrainingSet

# The most images in a test. Groups are tested as a whole.
MAX_TESTED = 2000
PERMUTATIONS = 100
# Standard deviations above chance. Chance is skewed where a few images resemble each other and most do not: pairs of
# random images reached 3.5 in such a collection. Genuine groups reach 40, and five pairs of images of a kind about 6.
MIN_SCORE = 6.0


def groups_are_meaningful(data: TrainingSet, seed: int = 0) -> bool:
    """Return whether images of a group are more similar in the frozen space than images of shuffled groups."""
    return group_score(data, seed) >= MIN_SCORE


def group_score(data: TrainingSet, seed: int = 0) -> float:
    """Return how many standard deviations the similarity within groups is above that within shuffled groups.

    Images of the same picture are similar whatever the groups mean, so each picture counts once in a group. Returns 0
    if no group has two pictures.
    """
    random = np.random.default_rng(seed)
    rows = _tested(data, random)
    if not len(rows):
        return 0.0
    _, groups, sizes = np.unique(data.groups[rows], return_inverse=True, return_counts=True)
    order = np.argsort(groups, kind="stable")
    vectors = data.vectors[rows[order]].astype(np.float32)
    vectors -= vectors.mean(axis=0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    found = _similarity(vectors, starts, sizes)
    chance = [_similarity(random.permutation(vectors), starts, sizes) for _ in range(PERMUTATIONS)]
    return float((found - np.mean(chance)) / max(float(np.std(chance)), 1e-9))


def _tested(data: TrainingSet, random: np.random.Generator) -> Labels:
    """Return the images to test: whole groups, with one image of each picture."""
    rows = np.flatnonzero(data.groups != UNGROUPED)
    _, first = np.unique(np.stack([data.groups[rows], data.pictures[rows]]), axis=1, return_index=True)
    rows = rows[np.sort(first)]
    names, inverse, counts = np.unique(data.groups[rows], return_inverse=True, return_counts=True)
    order = random.permutation(np.flatnonzero(counts > 1))
    # Shuffling needs at least two groups.
    chosen = order[np.cumsum(counts[order]) <= max(MAX_TESTED, int(counts[order[:2]].sum()))]
    mask: Mask = np.zeros(len(names), dtype=bool)
    mask[chosen] = True
    return rows[mask[inverse]] if len(chosen) > 1 else rows[:0]


def _similarity(vectors: Matrix, starts: Labels, sizes: Labels) -> float:
    """Return the mean cosine over pairs within groups, averaged over groups. The vectors are sorted by group."""
    sums = np.add.reduceat(vectors, starts, axis=0)
    pairs = sizes * (sizes - 1)
    return float((((sums**2).sum(axis=1) - sizes) / pairs).mean())
