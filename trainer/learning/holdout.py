"""Held-out sets: queries with images and views that are not trained on.

Small collections are cross-validated, so that every image is a query once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainer.learning.dataset import UNGROUPED, Labels, Mask, Matrix, TrainingSet, UnitVectors
from trainer.learning.retrieval import EXCLUDED, NONE
from trainer.learning.strangers import Strangers, strangers_of

FOLDS = 3
# From this size on, one fold has enough queries. It hides fewer groups, so that nearly all are trained on.
LARGE = 4000
HIDDEN_OF_LARGE = 5
# One group in so many is left out of a fold's training, if there are at least MIN_GROUPS.
ABSENT, ABSENT_OF_LARGE, MIN_GROUPS = 10, 20, 8
MAX_QUERIES = 1000
MAX_NEIGHBOURHOODS = 300
MAX_GALLERY = 10_000
# Queries for entries with held-out images, and as many with images that are trained on.
MAX_ENTRY_QUERIES = 500
GROUPS_SEEN, GROUPS_UNSEEN, VIEWS, NEIGHBOURHOOD = "groups_seen", "groups_unseen", "views", "neighbourhood"
ENTRIES = "entries"
# Below this share of images without a group, no group's labels are hidden for a test of unseen groups.
MIN_UNGROUPED_SHARE = 0.1
# The frozen space's nearest images to an image are its neighbourhood.
NEIGHBOURS = 10
BLOCK = 128


@dataclass(frozen=True)
class QuerySet:
    """Queries of one kind.

    vectors: their unit base vectors [q, dim]. relevant, excluded: for each query the positions of the relevant images
    in the gallery, and of those that are left out of the ranking.
    """

    name: str
    vectors: UnitVectors
    relevant: list[Labels]
    excluded: list[Labels]


@dataclass(frozen=True)
class Holdout:
    """A training set without the held-out images, the gallery [n, dim] to search, and the queries.

    Images of the same picture as the query are never relevant, except for a view. The query sets:

    - "groups_seen": a held-out image of a group that is trained on; the others of its group are relevant.
    - "groups_unseen": the same for groups whose labels are hidden from the training.
    - "views": an augmented view of a held-out image, with or without a group; that image is relevant.
    - "entries": an augmented view of an image of a group that is trained on; all images of its group are relevant. Some
      of these images are trained on, as all images of a collection are in the end. The view itself never is.
    - "neighbourhood": a held-out image without a group; its nearest images in the frozen space are relevant.

    strangers: held-out images of objects that the training does not know.
    """

    training: TrainingSet
    gallery: UnitVectors
    query_sets: tuple[QuerySet, ...]
    strangers: Strangers


def folds(data: TrainingSet, fresh: Mask, seed: int) -> Iterator[Holdout]:
    """Yield the splits of a training set: FOLDS for a small one, one for a large one. Deterministic for a seed.

    fresh: bool [n]; only these images are queries, and only groups of which all images are fresh are hidden. Training
    from scratch passes all images; continued training passes those that the earlier head was not trained on.
    """
    random = np.random.default_rng(seed)
    # All images of a picture are held out together.
    image_fold = random.integers(FOLDS, size=int(data.pictures.max(initial=0)) + 1)[data.pictures]
    names = np.setdiff1d(data.groups[fresh], [*data.groups[~fresh], UNGROUPED])
    large = len(data) >= LARGE
    fold_numbers = np.arange(len(names)) % (HIDDEN_OF_LARGE if large else FOLDS)
    group_fold = dict(zip(random.permutation(names).tolist(), fold_numbers, strict=True))
    # The images of some groups are not trained on at all. They are queries for something that is not in the collection.
    of = (ABSENT_OF_LARGE if large else ABSENT) if len(names) >= MIN_GROUPS else 0
    absent_fold = dict(
        zip(random.permutation(names).tolist(), (np.arange(len(names)) % of).tolist() if of else (), strict=bool(of))
    )
    hide_groups = bool((data.groups == UNGROUPED).mean() >= MIN_UNGROUPED_SHARE)
    for fold in range(1 if large else FOLDS):
        hidden = np.array([hide_groups and group_fold.get(int(group)) == fold for group in data.groups], dtype=bool)
        absent = np.array([absent_fold.get(int(group)) == fold for group in data.groups], dtype=bool)
        yield _split(data, (image_fold == fold) & fresh, fresh, hidden & ~absent, absent, fold, random)


def fresh_holdout(data: TrainingSet, fresh: Mask, seed: int) -> Holdout:
    """Return a held-out set of all images that an adapter was not trained on. fresh: bool [n], which images those are.

    Whole groups may be new. Deterministic for a seed.
    """
    none = np.zeros(len(data), dtype=bool)
    return _split(data, fresh, fresh, none, none, 0, np.random.default_rng(seed))


def _split(
    data: TrainingSet,
    candidates: Mask,
    fresh: Mask,
    hidden: Mask,
    absent: Mask,
    fold: int,
    random: np.random.Generator,
) -> Holdout:
    """Return one fold.

    candidates: bool [n], the images that may be held out as queries. fresh: those that an earlier head was not trained
    on. hidden: those whose labels are hidden. absent: those whose group is not trained on.
    """
    grouped = data.groups != UNGROUPED
    # One image of each picture.
    distinct = np.zeros(len(data), dtype=bool)
    distinct[np.unique(data.pictures, return_index=True)[1]] = True
    eligible = candidates & distinct
    seen, unseen = (
        _at_most(MAX_QUERIES, np.flatnonzero(eligible & grouped & part), random) for part in (~hidden & ~absent, hidden)
    )
    viewed = np.flatnonzero(eligible[data.viewed]) if data.views.shape[1] else np.zeros(0, np.int64)
    viewed = _at_most(MAX_QUERIES, viewed, random)
    unlabelled = _at_most(MAX_NEIGHBOURHOODS, np.flatnonzero(eligible & (~grouped | hidden)), random)
    # Each fold queries with a different view. Training on the others does not use it either.
    view = fold % max(data.views.shape[1], 1)
    queries = np.concatenate([seen, unseen, data.viewed[viewed], unlabelled])
    # The other images of a query's picture are held out with it.
    held_out = np.isin(data.pictures, np.union1d(data.pictures[queries], data.pictures[absent]))
    training = data.with_groups(np.where(hidden, UNGROUPED, data.groups)).without(held_out)
    training = training.without_view(view)
    known = np.isin(data.groups, training.known_groups)
    # If images have a single view, it is trained on.
    trained = fresh & distinct & known & ~held_out & (data.views.shape[1] > 1)
    of_entries = np.concatenate(
        [
            _at_most(MAX_ENTRY_QUERIES, some, random)
            for some in (viewed[known[data.viewed[viewed]]], np.flatnonzero(trained[data.viewed]))
        ]
    )
    labelling = _Labelling(data, _gallery(data, np.union1d(queries, data.viewed[of_entries]), random))
    query_sets = (
        labelling.groups(GROUPS_SEEN, seen),
        labelling.groups(GROUPS_UNSEEN, unseen),
        labelling.views(viewed, view),
        labelling.entries(of_entries, view),
        labelling.neighbourhoods(unlabelled),
    )
    strangers = strangers_of(data, ~held_out, held_out & distinct, ~grouped | absent, random)
    filled = tuple(query_set for query_set in query_sets if len(query_set.vectors))
    return Holdout(training, data.vectors[labelling.gallery], filled, strangers)


class _Labelling:
    """Labels the relevant and the excluded images of queries, in a gallery of images of a training set."""

    def __init__(self, data: TrainingSet, gallery: Labels) -> None:
        """gallery: int64 [n], the positions of its images in the training set."""
        self.gallery = gallery
        self._data = data
        self._groups = data.groups[gallery]
        self._pictures = data.pictures[gallery]

    def groups(self, name: str, images: Labels) -> QuerySet:
        """Return queries with the images whose group has another picture in the gallery."""
        relevant = [np.flatnonzero(self._of_group(image) & ~self._of_picture(image)) for image in images]
        answerable = [number for number, positions in enumerate(relevant) if len(positions)]
        images = images[answerable]
        return QuerySet(
            name, self._data.vectors[images], [relevant[number] for number in answerable], self._pictures_of(images)
        )

    def views(self, viewed: Labels, view: int) -> QuerySet:
        """Return queries with one view of images. The images of its picture are relevant.

        viewed: the positions [q] of the images among those that have views. view: the number of the view.
        """
        return self._of_view(VIEWS, viewed, view, self._pictures_of(self._data.viewed[viewed]))

    def entries(self, viewed: Labels, view: int) -> QuerySet:
        """Return queries with one view of images, given as in `views`. All images of its group are relevant."""
        images = self._data.viewed[viewed]
        relevant = [np.flatnonzero(self._of_group(image) | self._of_picture(image)) for image in images]
        return self._of_view(ENTRIES, viewed, view, relevant)

    def _of_view(self, name: str, viewed: Labels, view: int, relevant: list[Labels]) -> QuerySet:
        vectors = self._data.views[viewed, view] if len(viewed) else self._data.vectors[:0]
        return QuerySet(name, vectors, relevant, [NONE] * len(viewed))

    def neighbourhoods(self, images: Labels) -> QuerySet:
        """Return queries whose relevant images are the nearest in the frozen space."""
        excluded = self._pictures_of(images)
        relevant: list[Labels] = []
        gallery: Matrix = self._data.vectors[self.gallery].astype(np.float32)
        count = min(NEIGHBOURS, max(len(gallery) // 4, 1))
        for start in range(0, len(images), BLOCK):
            block = self._data.vectors[images[start : start + BLOCK]].astype(np.float32) @ gallery.T
            for number, scores in enumerate(block, start):
                scores[excluded[number]] = EXCLUDED
                relevant.append(np.argpartition(scores, -count)[-count:].astype(np.int64))
        return QuerySet(NEIGHBOURHOOD, self._data.vectors[images], relevant, excluded)

    def _of_group(self, image: int) -> Mask:
        mask: Mask = self._groups == self._data.groups[image]
        return mask

    def _of_picture(self, image: int) -> Mask:
        mask: Mask = self._pictures == self._data.pictures[image]
        return mask

    def _pictures_of(self, images: Labels) -> list[Labels]:
        """Return for each image the positions of the gallery's images that show the same picture."""
        return [np.flatnonzero(self._of_picture(image)) for image in images]


def _gallery(data: TrainingSet, queries: Labels, random: np.random.Generator) -> Labels:
    """Return the gallery: the queries with all of their groups, filled up with other images to at most MAX_GALLERY."""
    if len(data) <= MAX_GALLERY:
        return np.arange(len(data))
    groups = np.setdiff1d(data.groups[queries], [UNGROUPED])
    related = np.flatnonzero(np.isin(data.groups, groups) | np.isin(data.pictures, data.pictures[queries]))
    others = _at_most(max(MAX_GALLERY - len(related), 0), np.setdiff1d(np.arange(len(data)), related), random)
    return np.union1d(_at_most(MAX_GALLERY, np.setdiff1d(related, queries), random), np.union1d(others, queries))


def _at_most(count: int, positions: Labels, random: np.random.Generator) -> Labels:
    return random.permutation(positions)[:count]
