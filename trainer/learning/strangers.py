"""Strangers: held-out queries for something that is not in the gallery. They calibrate the false match rate."""

from dataclasses import dataclass

import numpy as np

from catalog.vectors.projection import normalised
from trainer.learning.dataset import UNGROUPED, Labels, Mask, Matrix, TrainingSet, UnitVectors

# With fewer images of objects that are new to the training, images of known objects are asked, too.
MIN_STRANGERS = 30
MAX_STRANGERS = 1000
MAX_GALLERY = 10_000
BLOCK = 128
# Below every cosine.
NOTHING = -2.0


@dataclass(frozen=True)
class Strangers:
    """Queries without a match, as a search meets them: adapter and gallery know other images than the query.

    queries: unit base vectors [q, dim] of images that are not trained on, with their objects [q]. gallery: the unit
    base vectors [n, dim] of images that are trained on, with their objects [n]. A query's own object does not count.
    """

    queries: UnitVectors
    queried: Labels
    gallery: UnitVectors
    objects: Labels

    def best_scores(self, projection: Matrix, count: int) -> Matrix:
        """Return for each query the best scores of the `count` best objects, falling, [q, count].

        NOTHING stands for objects that the gallery lacks.
        """
        order = np.argsort(self.objects, kind="stable")
        objects, starts = np.unique(self.objects[order], return_index=True)
        gallery = _projected(self.gallery[order], projection)
        found = np.full((len(self.queries), count), NOTHING, np.float32)
        if not len(objects):
            return found
        for start in range(0, len(self.queries), BLOCK):
            scores = _projected(self.queries[start : start + BLOCK], projection) @ gallery.T
            best = np.maximum.reduceat(scores, starts, axis=1)
            best[self.queried[start : start + BLOCK, np.newaxis] == objects] = NOTHING
            best = -np.sort(-best, axis=1)[:, :count]
            found[start : start + BLOCK, : best.shape[1]] = best
        return found


def strangers_of(data: TrainingSet, trained: Mask, asked: Mask, new: Mask, random: np.random.Generator) -> Strangers:
    """Return images that are not in the gallery as queries.

    trained: bool [n], the images that are trained on. asked: those that may be queries. new: those of objects that the
    training does not know; the others are asked only if there are few of these.
    """
    some = np.flatnonzero(asked & new)
    if len(some) < MIN_STRANGERS:
        some = np.flatnonzero(asked)
    queries = random.permutation(some)[:MAX_STRANGERS]
    gallery = random.permutation(np.flatnonzero(trained))[:MAX_GALLERY]
    objects = objects_of(data)
    return Strangers(data.vectors[queries], objects[queries], data.vectors[gallery], objects[gallery])


def objects_of(data: TrainingSet) -> Labels:
    """Return the object [n] of each image. One without a group is an object of its own, with all of its picture."""
    objects: Labels = np.where(data.groups == UNGROUPED, -1 - data.pictures, data.groups)
    return objects


def _projected(vectors: UnitVectors, projection: Matrix) -> Matrix:
    return normalised(vectors.astype(np.float32) @ projection)
