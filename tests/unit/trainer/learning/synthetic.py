"""Synthetic training sets: vectors of objects, of which a few dimensions say which object an image shows."""

import numpy as np

from catalog.vectors.projection import normalised
from trainer.learning.dataset import UNGROUPED, EarlierHead, Labels, Mask, Matrix, TrainingSet
from trainer.learning.head import Hyperparameters
from trainer.learning.holdout import Holdout, folds
from trainer.learning.strangers import Strangers, strangers_of
from trainer.learning.train import TrainingResult, train_adapter

DIM = 24
OBJECTS = 16
EACH = 10
VIEWS = 2
# The first dimensions tell the objects apart, the others are noise.
SIGNAL = 4
PCA = np.eye(DIM, dtype=np.float32)
# A head without the dimensions that tell the objects apart.
BLIND = np.eye(DIM, 16, -8, dtype=np.float32)
OBJECT_OF = np.repeat(np.arange(OBJECTS), EACH)
# Only every second object has a group.
HALF_GROUPED = np.where(OBJECT_OF % 2, UNGROUPED, OBJECT_OF)


def objects(seed: int, groups: Labels = OBJECT_OF) -> TrainingSet:
    """Return EACH images of each object, in which the noise is louder than the signal."""
    random = np.random.default_rng(seed)
    signal = random.normal(size=(OBJECTS, SIGNAL))[OBJECT_OF]
    noise = random.normal(size=(len(OBJECT_OF), DIM - SIGNAL)) * 1.2

    def photographed(strength: float) -> Matrix:
        changed = noise + strength * random.normal(size=noise.shape)
        rows = np.concatenate([signal + 0.1 * random.normal(size=signal.shape), changed], axis=1)
        return normalised(rows.astype(np.float32))

    views = np.stack([photographed(2.5) for _ in range(VIEWS)], axis=1)
    numbers = np.arange(len(OBJECT_OF))
    return TrainingSet(photographed(0.0), groups, views, numbers, numbers)


def no_strangers(data: TrainingSet) -> Strangers:
    """Return no queries."""
    none = np.zeros(len(data), dtype=bool)
    return strangers_of(data, none, none, none, np.random.default_rng(0))


def shuffled_groups(seed: int) -> Labels:
    """Return groups of the right sizes that say nothing about the objects."""
    return np.random.default_rng(seed).permutation(OBJECT_OF)


def half_of_each(data: TrainingSet) -> Mask:
    """Return a mask of half of each object's images."""
    return np.arange(len(data)) % EACH >= EACH // 2


def parameters(
    steps: int = 40, *, pull_weight: float = 10.0, group_pull_weight: float = 1.0, view_weight: float = 1.0
) -> Hyperparameters:
    """Return hyperparameters for these vectors, which have to change much more than a backbone's."""
    return Hyperparameters(
        steps=steps,
        batch_size=128,
        learning_rate=0.03,
        view_weight=view_weight,
        pull_weight=pull_weight,
        group_pull_weight=group_pull_weight,
    )


def trained(data: TrainingSet, given: Hyperparameters, earlier: EarlierHead | None = None) -> TrainingResult:
    """Return the result of a training."""
    return train_adapter(data, PCA, earlier, given, lambda _: None)


def all_folds(data: TrainingSet) -> list[Holdout]:
    """Return the folds of a training from scratch."""
    return list(folds(data, np.ones(len(data), dtype=bool), 0))
