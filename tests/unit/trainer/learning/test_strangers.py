"""Strangers: queries without a match, as they are left out of a fold."""

import numpy as np
import pytest

from trainer.learning.dataset import UNGROUPED, Labels, TrainingSet
from trainer.learning.holdout import ABSENT, FOLDS, MIN_GROUPS, Holdout, folds
from trainer.learning.strangers import LARGE_GROUP, NOTHING, WHOLE_GALLERY, Strangers, objects_of

DIM = 16


def training_set(groups: Labels, seed: int = 0) -> TrainingSet:
    """Return random images with these groups, and a view of each."""
    vectors = np.random.default_rng(seed).normal(size=(len(groups), DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(len(groups))
    return TrainingSet(vectors, groups, vectors[:, None], rows, rows)


def splits(data: TrainingSet) -> list[Holdout]:
    return list(folds(data, np.ones(len(data), dtype=bool), 0))


def test_only_the_best_score_of_each_other_object_counts() -> None:
    gallery = np.array([[1, 0], [0.9, 0.1], [0.6, 0.8], [0, 1]], dtype=np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries = np.array([[1, 0], [1, 0]], dtype=np.float32)
    pictures = np.arange(4)
    asked = Strangers(queries, np.array([7, 9]), np.array([8, 9]), gallery, np.array([7, 7, 5, 3]), pictures)
    scores = asked.best_scores(np.eye(2, dtype=np.float32), 4)
    assert scores[0].tolist() == pytest.approx([0.6, 0.0, NOTHING, NOTHING])
    assert scores[1].tolist() == pytest.approx([1.0, 0.6, 0.0, NOTHING])


def test_a_querys_own_picture_does_not_count_in_other_entries() -> None:
    gallery = np.array([[1, 0], [0.6, 0.8], [0, 1]], dtype=np.float32)
    asked = Strangers(gallery[:1], np.array([7]), np.array([0]), gallery, np.array([5, 5, 3]), np.array([0, 1, 2]))
    scores = asked.best_scores(np.eye(2, dtype=np.float32), 2)
    assert scores[0].tolist() == pytest.approx([0.6, 0.0])


def test_the_images_of_absent_groups_are_strangers_and_are_not_trained_on() -> None:
    data = training_set(np.repeat(np.arange(2 * ABSENT), 15))
    queried: list[int] = []
    for split in splits(data):
        absent = np.unique(split.strangers.queried)
        assert len(absent) == 2
        assert not np.isin(absent, split.training.groups).any()
        assert not np.isin(absent, split.strangers.objects).any()
        assert len(split.strangers.queries) == 30
        queried += absent.tolist()
    assert len(set(queried)) == 2 * FOLDS


def test_images_without_a_group_are_strangers_when_they_are_held_out() -> None:
    data = training_set(np.full(120, UNGROUPED))
    queried = np.concatenate([split.strangers.queried for split in splits(data)])
    assert sorted(queried) == sorted(objects_of(data))
    for split in splits(data):
        assert len(split.strangers.gallery) == len(split.training)


def test_the_gallery_of_a_larger_collection_has_the_other_held_out_images() -> None:
    """In a gallery of the images that are trained on, the best result stood out more than in the collection."""
    data = training_set(np.full(WHOLE_GALLERY, UNGROUPED))
    for split in splits(data):
        assert len(split.training) < len(split.strangers.gallery) == len(data)
        found = split.strangers.best_scores(np.eye(DIM, dtype=np.float32), len(data))
        assert (found > NOTHING).sum(axis=1).tolist() == [len(data) - 1] * len(found)


@pytest.mark.parametrize(("size", "whole"), [(LARGE_GROUP - 1, True), (LARGE_GROUP, False)])
def test_large_groups_are_represented_by_the_images_that_are_trained_on(size: int, whole: bool) -> None:
    data = training_set(np.arange(280) // size)
    for split in splits(data):
        assert (len(split.strangers.gallery) == len(data)) == whole
        # A query's own group is never found.
        found = split.strangers.best_scores(np.eye(DIM, dtype=np.float32), len(data))
        known = np.unique(split.strangers.objects)
        others = [int((known != own).sum()) for own in split.strangers.queried]
        assert (found > NOTHING).sum(axis=1).tolist() == others


def test_with_few_groups_none_is_absent_and_held_out_images_of_known_ones_are_asked() -> None:
    data = training_set(np.repeat(np.arange(MIN_GROUPS - 1), 20))
    for split in splits(data):
        assert len(np.unique(split.training.groups)) == MIN_GROUPS - 1
        assert len(split.strangers.queries) == len(data) - len(split.training)
