"""Calibration: what a score means in a particular index.

The same cosine similarity can be high in one collection and low in another. The percentile compares it with pairs of
unrelated images. The false match rate compares it with the best result of a query for something that is not in the
collection (the false-positive identification rate of ISO/IEC 19795-1).
"""

import asyncio
from concurrent.futures import Executor
from math import log, tanh

import numpy as np

from catalog.images import Image
from catalog.indexes import Index
from catalog.vectors.false_matches import ATYPICAL, FALSE_MATCH_RATES, FalseMatches, fisher, prominence
from catalog.vectors.projection import Projection, normalised
from trainer.adapter.object_number import object_number, object_of
from trainer.adapter.pca import spanning_object
from trainer.index.base_vectors import Matrix, StoredVectors
from trainer.learning.dataset import Labels, UnitVectors
from trainer.learning.pictures import same_pictures
from trainer.learning.strangers import NOTHING

# Enough for half a million pairs, so that the top 0.1 % is measured well.
SAMPLE = 1000
QUANTILES = 1001
# With fewer held-out images, the estimate of the best score is too uncertain.
MIN_QUERIES = 20
# The mean direction of this many images is known well enough.
MOST_FOR_MEAN = 5000
# The share of the highest values that an exponential distribution is fitted to, and by how many standard errors its
# scale is raised.
TAIL, CAUTION = 0.4, 0.75


class Calibration:
    """Measures the scores of an index before it is searched."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def run(self, vectors: StoredVectors, index: Index, projection: Projection) -> list[float]:
        """Return the quantiles, at QUANTILES equal steps from 0 to 1, of the scores between unrelated images.

        index: the index that is being built. Images are unrelated if neither their objects nor their pictures are the
        same. Empty without two such images.
        """
        sample = await vectors.sample(index, SAMPLE)

        def measured() -> list[float]:
            pictures = same_pictures(normalised(sample.vectors))
            return unrelated_quantiles(projection.apply(sample.vectors), _objects(sample.images), pictures)

        return await asyncio.get_running_loop().run_in_executor(self._executor, measured)


def unrelated_quantiles(tuned: Matrix, objects: Labels, pictures: Labels) -> list[float]:
    """Return the quantiles of the cosine similarities of unit vectors [n, dim] of different objects and pictures."""
    first, second = np.triu_indices(len(tuned), k=1)
    unrelated = (objects[first] != objects[second]) & (pictures[first] != pictures[second])
    if not unrelated.any():
        return []
    scores = (tuned @ tuned.T)[first[unrelated], second[unrelated]]
    quantiles: list[float] = np.quantile(scores, np.linspace(0, 1, QUANTILES)).tolist()
    return quantiles


def _objects(images: list[Image]) -> Labels:
    """Return the object [n] of each image. An image without a distinctive repository URL is an object of its own."""
    spanning = spanning_object(np.array([object_number(image.repo_url) for image in images], dtype=np.int64))
    return np.array([object_of(image, spanning) for image in images], dtype=np.int64)


def false_matches(best: Matrix, gallery_size: int, images: int) -> FalseMatches:
    """Return the scores and prominences at FALSE_MATCH_RATES. None of them if there are too few queries.

    best: the scores [q, 1 + RUNNER_UPS] of the best objects for queries without a match, in a gallery of `gallery_size`
    images. The adapter must not have been trained on these queries, and NOTHING stands for objects that the gallery
    lacks. images: the size of the collection. If it is larger than the gallery, the distribution function of the best
    score is raised to the power of the ratio. The distance to the runner-ups does not depend on it (extreme values with
    an exponential tail).
    """
    if len(best) < MIN_QUERIES:
        return FalseMatches()
    ratio = max(images / max(gallery_size, 1), 1.0)
    scores = [tanh(limit) for limit in _limits([fisher(score) for score in best[:, 0].tolist()], ratio)]
    compared = [(row[0], [score for score in row[1:] if score > NOTHING]) for row in best.tolist()]
    prominences = [prominence(score, others) for score, others in compared if others]
    return FalseMatches(scores, _limits(prominences, 1.0) if len(prominences) >= MIN_QUERIES else ())


def typical(vectors: UnitVectors) -> tuple[Matrix, float]:
    """Return the mean direction [dim] of unit vectors [n, dim], and the cosine to it that all but ATYPICAL reach."""
    some = vectors[:: max(len(vectors) // MOST_FOR_MEAN, 1)].astype(np.float32)
    mean: Matrix = normalised(some.mean(axis=0)[np.newaxis])[0]
    return mean, float(np.quantile(some @ mean, ATYPICAL))


def _limits(measured: list[float], ratio: float) -> list[float]:
    """Return the values that the shares FALSE_MATCH_RATES of the queries reach, falling.

    The upper TAIL of what was measured is fitted by an exponential distribution, to extrapolate beyond it. The rest is
    used as measured.

    Some of the queries do have a match: another version of their picture, in another entry. Their values are the
    highest, so they stretch the mean of the excess, but hardly its median. So the scale is the lower of the two
    estimates of it, raised by CAUTION standard errors.
    """
    threshold = float(np.quantile(measured, 1 - TAIL))
    excess = [value - threshold for value in measured if value > threshold] or [0.0]
    error = CAUTION / len(excess) ** 0.5
    by_median, by_mean = float(np.median(excess)) / log(2), sum(excess) / len(excess)
    scale = min(by_median * (1 + error / log(2)), by_mean * (1 + error))
    limits = []
    for rate in FALSE_MATCH_RATES:
        # The share of queries whose best score in the gallery is at least as high.
        share = 1 - (1 - rate) ** (1 / ratio)
        limits.append(
            threshold + scale * log(TAIL / share) if share < TAIL else float(np.quantile(measured, 1 - share))
        )
    falling: list[float] = np.minimum.accumulate(limits).tolist()
    return falling
