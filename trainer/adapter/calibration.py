"""Calibration: how the scores between unrelated images of an index are distributed.

The same cosine similarity means much in one collection and little in another; its percentile among pairs of images that
have nothing to do with each other means the same in all.
"""

import asyncio
from concurrent.futures import Executor

import numpy as np

from catalog.indexes import Index
from catalog.vectors.projection import Projection
from trainer.index.base_vectors import Matrix, StoredVectors

# Enough for half a million pairs, so that one in a thousand is known well.
SAMPLE = 1000
QUANTILES = 1001


class Calibration:
    """Measures an index before it is searched."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def run(self, vectors: StoredVectors, index: Index, projection: Projection) -> list[float]:
        """The quantiles, at QUANTILES equal steps from 0 to 1, of the scores between images of different objects.

        index: the one that is made. Empty when there are no two objects.
        """
        sample = await vectors.sample(index, SAMPLE)
        objects = [image.repo_url for image in sample.images]
        if len(set(objects)) < 2:
            return []
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._executor, lambda: unrelated_quantiles(projection.apply(sample.vectors), objects)
        )


def unrelated_quantiles(tuned: Matrix, objects: list[str]) -> list[float]:
    """The quantiles of the cosine similarities of unit vectors [n, dim] of different objects [n]."""
    _, numbers = np.unique(np.array(objects), return_inverse=True)
    first, second = np.triu_indices(len(tuned), k=1)
    unrelated = numbers[first] != numbers[second]
    scores = (tuned @ tuned.T)[first[unrelated], second[unrelated]]
    quantiles: list[float] = np.quantile(scores, np.linspace(0, 1, QUANTILES)).tolist()
    return quantiles
