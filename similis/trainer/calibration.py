"""Calibration: how the scores between unrelated images of an index are distributed.

The same cosine similarity means much in one collection and little in another; its percentile among pairs of images that
have nothing to do with each other means the same in all.
"""

import asyncio
from concurrent.futures import Executor

import numpy as np

from similis.catalog.projection import Projection
from similis.trainer.fitting import Report
from similis.trainer.stored_vectors import Matrix, StoredVectors

# Enough for half a million pairs, so that one in a thousand is known well.
SAMPLE = 1000
QUANTILES = 1001


class Calibration:
    """Measures an index before it is searched."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def run(self, vectors: StoredVectors, projection: Projection, report: Report) -> list[float]:
        """The quantiles, at QUANTILES equal steps from 0 to 1, of the scores between images of different objects.

        Empty when there are no two objects.
        """
        sample, objects = await self._sample(vectors, report)
        if len(set(objects)) < 2:
            return []
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, unrelated_quantiles, projection.apply(sample), objects)

    async def _sample(self, vectors: StoredVectors, report: Report) -> tuple[Matrix, list[str]]:
        """A uniform sample of the images, in one pass (Vitter, 1985, "Random Sampling with a Reservoir")."""
        random = np.random.default_rng(0)
        kept: list[tuple[Matrix, str]] = []
        seen = 0
        async for page in vectors.pages():
            for image, vector in zip(page.images, page.vectors, strict=True):
                seen += 1
                row = seen - 1 if seen <= SAMPLE else int(random.integers(seen))
                if row == len(kept):
                    kept.append((vector, image.repo_url))
                elif row < SAMPLE:
                    kept[row] = (vector, image.repo_url)
            report(page.rows)
        return np.stack([vector for vector, _ in kept]), [name for _, name in kept]


def unrelated_quantiles(tuned: Matrix, objects: list[str]) -> list[float]:
    """The quantiles of the cosine similarities of unit vectors [n, dim] of different objects [n]."""
    _, numbers = np.unique(np.array(objects), return_inverse=True)
    first, second = np.triu_indices(len(tuned), k=1)
    unrelated = numbers[first] != numbers[second]
    scores = (tuned @ tuned.T)[first[unrelated], second[unrelated]]
    quantiles: list[float] = np.quantile(scores, np.linspace(0, 1, QUANTILES)).tolist()
    return quantiles
