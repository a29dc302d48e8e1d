"""Held-out queries: images and views that are not trained on.

Small collections are cross-validated, so that every image is a query once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainer.learning.dataset import UNGROUPED, Labels, Mask, Matrix, TrainingSet, UnitVectors

FOLDS = 3
# From this size on, one fold has enough queries. It hides fewer groups, so that nearly all are trained on.
LARGE = 4000
HIDDEN_OF_LARGE = 5
MAX_QUERIES = 1000
MAX_NEIGHBOURHOODS = 300
MAX_DATABASE = 10_000
GROUPS_SEEN, GROUPS_UNSEEN, VIEWS, NEIGHBOURHOOD = "groups_seen", "groups_unseen", "views", "neighbourhood"
UNRELATED = "unrelated"
# Below this share of images without a group, the collection does not have to serve unknown groups.
MIN_UNGROUPED_SHARE = 0.1
# The frozen space's nearest images to an image are its neighbourhood.
NEIGHBOURS = 10
BLOCK = 128


@dataclass(frozen=True)
class Part:
    """Queries of one kind.

    queries: unit base vectors [q, dim]. right, ignored: for each query the positions in the database that are right,
    and those that are left out of the ranking.
    """

    name: str
    queries: UnitVectors
    right: list[Labels]
    ignored: list[Labels]


@dataclass(frozen=True)
class Holdout:
    """A training set without the held-out images, the gallery [n, dim] to search, and the queries.

    Images of the same picture as the query are never correct, except for a view. The parts:

    - "groups_seen": a held-out image of a group that the training knows; the others of its group are right.
    - "groups_unseen": the same for groups whose labels the training does not know.
    - "views": an augmented view of a held-out image, with or without a group; that image is right.
    - "neighbourhood": a held-out image without a group; its nearest images in the frozen space are right.

    unrelated: held-out images, each of which ignores its own group and picture: nothing in the database is right.
    """

    training: TrainingSet
    database: UnitVectors
    parts: tuple[Part, ...]
    unrelated: Part


def folds(data: TrainingSet, fresh: Mask, seed: int) -> Iterator[Holdout]:
    """Yield the splits of a training set: FOLDS for a small one, one for a large one. Deterministic for a seed.

    fresh: bool [n]; only these images are queries, and only groups of which all images are fresh are hidden. A training
    from scratch passes all images; one that continues passes those that the earlier one was not trained on.
    """
    random = np.random.default_rng(seed)
    # All images of a picture are held out together.
    image_fold = random.integers(FOLDS, size=int(data.pictures.max(initial=0)) + 1)[data.pictures]
    names = np.setdiff1d(data.groups[fresh], [*data.groups[~fresh], UNGROUPED])
    large = len(data) >= LARGE
    fold_numbers = np.arange(len(names)) % (HIDDEN_OF_LARGE if large else FOLDS)
    group_fold = dict(zip(random.permutation(names).tolist(), fold_numbers, strict=True))
    ask_unseen = bool((data.groups == UNGROUPED).mean() >= MIN_UNGROUPED_SHARE)
    for fold in range(1 if large else FOLDS):
        unseen = np.array([ask_unseen and group_fold.get(int(group)) == fold for group in data.groups], dtype=bool)
        yield _split(data, (image_fold == fold) & fresh, unseen, fold, random)


def fresh_questions(data: TrainingSet, fresh: Mask, seed: int) -> Holdout:
    """Return queries with all images that an adapter was not trained on. fresh: bool [n], which images those are.

    Whole groups may be new. Deterministic for a seed.
    """
    none_hidden = np.zeros(len(data), dtype=bool)
    return _split(data, fresh, none_hidden, 0, np.random.default_rng(seed))


def _split(data: TrainingSet, asked: Mask, unseen: Mask, fold: int, random: np.random.Generator) -> Holdout:
    grouped = data.groups != UNGROUPED
    pictures = np.unique(data.pictures, return_index=True)[1]
    once = np.zeros(len(data), dtype=bool)
    once[pictures] = True
    seen, hidden = (
        _at_most(MAX_QUERIES, np.flatnonzero(asked & once & grouped & part), random) for part in (~unseen, unseen)
    )
    viewed = np.flatnonzero((asked & once)[data.viewed]) if data.views.shape[1] else np.zeros(0, np.int64)
    viewed = _at_most(MAX_QUERIES, viewed, random)
    lone = _at_most(MAX_NEIGHBOURHOODS, np.flatnonzero(asked & once & (~grouped | unseen)), random)
    # Each fold queries with a different view.
    views = data.views[viewed, fold % max(data.views.shape[1], 1)] if len(viewed) else data.vectors[:0]
    shown = data.viewed[viewed]
    found = _database(data, np.concatenate([seen, hidden, shown, lone]), random)
    search = _Search(data, found)
    gone = np.zeros(len(data), dtype=bool)
    gone[np.concatenate([seen, hidden, shown, lone])] = True
    # Held out together with a query: the other images of its picture.
    gone = np.isin(data.pictures, data.pictures[gone])
    parts = (
        search.group_part(GROUPS_SEEN, seen),
        search.group_part(GROUPS_UNSEEN, hidden),
        Part(VIEWS, views, [search.same_picture(image) for image in shown], [search.none] * len(shown)),
        search.neighbourhood_part(lone),
    )
    training = data.with_groups(np.where(unseen, UNGROUPED, data.groups)).without(gone)
    strangers = _at_most(MAX_QUERIES, np.unique(np.concatenate([seen, hidden, shown, lone])), random)
    unrelated = search.unrelated_part(strangers)
    return Holdout(training, data.vectors[found], tuple(part for part in parts if len(part.queries)), unrelated)


class _Search:
    """The correct results of queries, among the images `found` of a training set."""

    def __init__(self, data: TrainingSet, found: Labels) -> None:
        self._data = data
        self._found = found
        self._groups = data.groups[found]
        self._pictures = data.pictures[found]
        self.none: Labels = np.zeros(0, dtype=np.int64)

    def same_picture(self, image: int) -> Labels:
        """Return the positions of the images that show the same picture."""
        return np.flatnonzero(self._pictures == self._data.pictures[image])

    def group_part(self, name: str, images: Labels) -> Part:
        """Return the queries with images whose group has another picture in the gallery."""
        right = [
            np.flatnonzero((self._groups == self._data.groups[image]) & (self._pictures != self._data.pictures[image]))
            for image in images
        ]
        kept = [number for number, positions in enumerate(right) if len(positions)]
        images = images[kept]
        ignored = [self.same_picture(image) for image in images]
        return Part(name, self._data.vectors[images], [right[number] for number in kept], ignored)

    def unrelated_part(self, images: Labels) -> Part:
        """Return queries without a match: each ignores its own group and picture."""
        ignored = [
            np.flatnonzero(
                (self._pictures == self._data.pictures[image])
                | ((self._groups == self._data.groups[image]) & (self._groups != UNGROUPED))
            )
            for image in images
        ]
        return Part(UNRELATED, self._data.vectors[images], [self.none] * len(images), ignored)

    def neighbourhood_part(self, images: Labels) -> Part:
        """Return the queries whose correct results are the nearest images in the frozen space."""
        ignored = [self.same_picture(image) for image in images]
        right: list[Labels] = []
        database: Matrix = self._data.vectors[self._found].astype(np.float32)
        count = min(NEIGHBOURS, max(len(database) // 4, 1))
        for start in range(0, len(images), BLOCK):
            scores = self._data.vectors[images[start : start + BLOCK]].astype(np.float32) @ database.T
            for row, found in enumerate(scores):
                found[ignored[start + row]] = -2.0
                right.append(np.argpartition(found, -count)[-count:].astype(np.int64))
        return Part(NEIGHBOURHOOD, self._data.vectors[images], right, ignored)


def _database(data: TrainingSet, asked: Labels, random: np.random.Generator) -> Labels:
    """Return the gallery: the queries with all of their groups, filled up with other images to at most MAX_DATABASE."""
    if len(data) <= MAX_DATABASE:
        return np.arange(len(data))
    groups = np.setdiff1d(data.groups[asked], [UNGROUPED])
    related = np.flatnonzero(np.isin(data.groups, groups) | np.isin(data.pictures, data.pictures[asked]))
    others = _at_most(max(MAX_DATABASE - len(related), 0), np.setdiff1d(np.arange(len(data)), related), random)
    return np.union1d(_at_most(MAX_DATABASE, np.setdiff1d(related, asked), random), np.union1d(others, asked))


def _at_most(count: int, positions: Labels, random: np.random.Generator) -> Labels:
    return random.permutation(positions)[:count]
