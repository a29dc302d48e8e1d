"""Vectors for large collections, with the geometry of real ones."""

from collections.abc import Iterator

import numpy as np

from catalog.vectors.projection import Matrix, Projection

TUNED_DIMENSION = 256
BLOCK = 10_000
# How far a row is from the pair of images that it lies between, as a share of their spread.
NOISE = 0.4


class SyntheticRows:
    """Rows of a collection: first the real images, then points between pairs of them, with noise.

    So the rows lie where a backbone puts images, and their scores are spread as those of a real collection.
    """

    def __init__(self, real: Matrix, count: int, adapter: Projection | None = None) -> None:
        """real: the backbone's vectors [m, dim] of images. adapter: by default, one that is made from these rows."""
        self._real = real[:count]
        self._count = count
        self._spread = real.std(axis=0)
        self.adapter = adapter or _principal(np.concatenate([block for _, block in self._blocks(min(count, BLOCK))]))

    def tuned(self) -> Iterator[tuple[int, Matrix]]:
        """Yield the number of the first row and the unit vectors [n, TUNED_DIMENSION] of each block of rows."""
        for start, block in self._blocks(self._count):
            yield start, self.adapter.apply(block)

    def _blocks(self, count: int) -> Iterator[tuple[int, Matrix]]:
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            block = self._between(size, seed=start)
            if start == 0:
                block[: len(self._real)] = self._real
            yield start, block

    def _between(self, size: int, seed: int) -> Matrix:
        random = np.random.default_rng(seed)
        first, second = random.integers(0, len(self._real), (2, size))
        share = random.uniform(0.3, 1.0, (size, 1)).astype(np.float32)
        noise = NOISE * self._spread * random.normal(size=(size, self._real.shape[1])).astype(np.float32)
        mixed: Matrix = share * self._real[first] + (1 - share) * self._real[second] + noise.astype(np.float32)
        return mixed


def _principal(base: Matrix) -> Projection:
    """Return the uncentred PCA of vectors, as a finetune without training makes it."""
    unit = base / np.linalg.norm(base, axis=1, keepdims=True)
    _, directions = np.linalg.eigh((unit.T @ unit).astype(np.float64))
    kept = np.ascontiguousarray(directions[:, ::-1][:, :TUNED_DIMENSION], dtype=np.float32)
    return Projection(kept, unit.mean(axis=0))
