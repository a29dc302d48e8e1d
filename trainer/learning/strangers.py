"""Strangers: held-out queries for something that is not in the gallery. They calibrate the false match rate."""

from dataclasses import dataclass

import numpy as np

from catalog.vectors.projection import normalised
from trainer.learning.dataset import UNGROUPED, Labels, Mask, Matrix, TrainingSet, UnitVectors

# With fewer images of objects that are new to the training, images of known objects are asked, too.
MIN_STRANGERS = 30
MAX_STRANGERS = 1000
MAX_GALLERY = 10_000
# From this size on, the gallery may have the held-out images, too. A head that was trained on fewer images knows so few
# directions that any two images it was not trained on look alike.
WHOLE_GALLERY = 200
# Groups of so many images are large.
LARGE_GROUP = 8
BLOCK = 128
# Below every cosine.
NOTHING = -2.0


@dataclass(frozen=True)
class Strangers:
    """Queries without a match, as a search meets them: the adapter has not seen them.

    queries: unit base vectors [q, dim] of images that are not trained on, with their objects [q] and pictures [q].
    gallery: the unit base vectors [n, dim] of a collection's images, with their objects [n] and pictures [n]. A query's
    own object and its own picture do not count.
    """

    queries: UnitVectors
    queried: Labels
    queried_pictures: Labels
    gallery: UnitVectors
    objects: Labels
    pictures: Labels

    def best_scores(self, projection: Matrix, count: int) -> Matrix:
        """Return for each query the best scores of the `count` best objects, falling, [q, count].

        NOTHING stands for objects that the gallery lacks.
        """
        order = np.argsort(self.objects, kind="stable")
        objects, starts = np.unique(self.objects[order], return_index=True)
        gallery, pictures = _projected(self.gallery[order], projection), self.pictures[order]
        found = np.full((len(self.queries), count), NOTHING, np.float32)
        if not len(objects):
            return found
        for start in range(0, len(self.queries), BLOCK):
            block = slice(start, start + BLOCK)
            scores = _projected(self.queries[block], projection) @ gallery.T
            scores[self.queried_pictures[block, np.newaxis] == pictures] = NOTHING
            best = np.maximum.reduceat(scores, starts, axis=1)
            best[self.queried[block, np.newaxis] == objects] = NOTHING
            best = -np.sort(-best, axis=1)[:, :count]
            found[block, : best.shape[1]] = best
        return found


def strangers_of(data: TrainingSet, trained: Mask, asked: Mask, new: Mask, random: np.random.Generator) -> Strangers:
    """Return held-out images as queries.

    trained: bool [n], the images that are trained on. asked: those that may be queries. None of them is trained on.
    new: those of objects that the training does not know; the others are asked only if there are few of these.

    The gallery has the images that are trained on, or all images: see `_needs_all`.
    """
    some = np.flatnonzero(asked & new)
    if len(some) < MIN_STRANGERS:
        some = np.flatnonzero(asked)
    queries = random.permutation(some)[:MAX_STRANGERS]
    known = np.arange(len(data)) if _needs_all(data) else np.flatnonzero(trained)
    gallery = random.permutation(known)[:MAX_GALLERY]
    objects = objects_of(data)
    return Strangers(
        *(data.vectors[queries], objects[queries], data.pictures[queries]),
        *(data.vectors[gallery], objects[gallery], data.pictures[gallery]),
    )


def _needs_all(data: TrainingSet) -> bool:
    """Return whether the gallery needs the held-out images, too.

    Without them it is smaller than the collection, so the best result stands out more. With them, some of it is not
    trained on, and looks more alike than it will. In a small collection, that is worse. If most images are in large
    groups, the images that are trained on stand for the others.
    """
    _, group, sizes = np.unique(data.groups, return_inverse=True, return_counts=True)
    in_large = (sizes[group] >= LARGE_GROUP) & (data.groups != UNGROUPED)
    return len(data) >= WHOLE_GALLERY and bool(in_large.mean() < 0.5)


def objects_of(data: TrainingSet) -> Labels:
    """Return the object [n] of each image. One without a group is an object of its own, with all of its picture."""
    objects: Labels = np.where(data.groups == UNGROUPED, -1 - data.pictures, data.groups)
    return objects


def _projected(vectors: UnitVectors, projection: Matrix) -> Matrix:
    return normalised(vectors.astype(np.float32) @ projection)
