"""Calibration: what a score means in a particular index.

The same cosine similarity can be high in one collection and low in another. The percentile compares it with pairs of
unrelated images. The false match rate compares it with the best result of a query for something that is not in the
collection (the false-positive identification rate of ISO/IEC 19795-1).
"""

import asyncio
from concurrent.futures import Executor
from statistics import NormalDist

import numpy as np

from catalog.images import Image
from catalog.indexes import FALSE_MATCH_RATES, Index
from catalog.vectors.projection import Projection, normalised
from trainer.adapter.object_number import object_number, object_of
from trainer.adapter.pca import spanning_object
from trainer.index.base_vectors import Matrix, StoredVectors
from trainer.learning.dataset import Labels
from trainer.learning.pictures import same_pictures

# Enough for half a million pairs, so that the top 0.1 % is measured well.
SAMPLE = 1000
QUANTILES = 1001
# With fewer held-out images, the estimate of the best score is too uncertain.
MIN_QUERIES = 20
# Keeps the Fisher transform and the normal quantiles finite.
LARGEST, SMALLEST = 0.999999, 1e-9


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


def false_match_scores(best: Matrix, gallery_size: int, images: int) -> list[float]:
    """Return the scores at FALSE_MATCH_RATES, in descending order. Empty if there are too few queries.

    best: the best score [q] of each of some queries without a relevant image, in a gallery of `gallery_size` images.
    The adapter must not have been trained on these queries. images: the size of the collection. If it is larger than
    the gallery, the distribution function of the best score is raised to the power of the ratio.

    A normal distribution is fitted to the Fisher transform of the upper half of the best scores, to extrapolate beyond
    the measured ones. The lower half is used as measured. Mean and deviation are raised by one standard error.
    """
    if len(best) < MIN_QUERIES:
        return []
    ratio = max(images / max(gallery_size, 1), 1.0)
    fisher = np.sort(np.arctanh(np.clip(best.astype(np.float64), -LARGEST, LARGEST)))
    shares = (np.arange(len(fisher)) + 0.5) / len(fisher)
    upper = shares >= 0.5
    normal = NormalDist()
    deviation, mean = np.polyfit([normal.inv_cdf(share) for share in shares[upper]], fisher[upper], 1)
    deviation *= 1 + 1 / (2 * len(best)) ** 0.5
    mean += deviation / len(best) ** 0.5
    scores: list[float] = []
    for rate in FALSE_MATCH_RATES:
        # The share of queries whose best score in the gallery is lower.
        share = min(max((1 - rate) ** (1 / ratio), SMALLEST), 1 - SMALLEST)
        found = mean + deviation * normal.inv_cdf(share) if share >= 0.5 else float(np.quantile(fisher, share))
        scores.append(float(np.tanh(found)))
    falling: list[float] = np.minimum.accumulate(scores).tolist()
    return falling
