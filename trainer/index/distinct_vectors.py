"""Distinct vectors: finds equal vectors while an index is written, so that each of them becomes a single point."""

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from catalog.indexed_images import EqualImage
from catalog.vectors.projection import normalised

Matrix = npt.NDArray[np.float32]

# Unit vectors are rounded to multiples of 1 / STEPS before they are compared, because the vector of an image can differ
# in its last bits on another processor or in another batch. Different images differ by more in some of the numbers.
STEPS = 1024
KEY_BYTES = 16
# So many keys are kept in a dictionary before they move to the sorted arrays, which take a fifth of the memory.
MERGE_AT = 1 << 16


class DistinctVectors:
    """Remembers the vectors of an index by a hash of 128 bits: 24 bytes for each distinct one."""

    def __init__(self) -> None:
        self._recent: dict[bytes, int] = {}
        # The halves of the keys, sorted by the first one, and the image that each key belongs to.
        self._highs, self._lows = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        self._images = np.zeros(0, np.int64)
        self._sizes: Counter[int] = Counter()

    def add(self, ids: Sequence[int], vectors: Matrix) -> tuple[list[int], list[EqualImage]]:
        """Add images with their vectors [n, dim], of any length.

        Return the positions of those whose vector is new, and the images whose vector equals that of an earlier image.
        """
        keys = _keys(vectors)
        new, equal = [], []
        for row, (identifier, key, known) in enumerate(zip(ids, keys, self._known(keys), strict=True)):
            first = known or self._recent.setdefault(key, identifier)
            if first == identifier:
                new.append(row)
                continue
            self._sizes[first] += 1
            equal.append(EqualImage(first, self._sizes[first], identifier))
        if len(self._recent) >= MERGE_AT:
            self._merge()
        return new, equal

    def _known(self, keys: Sequence[bytes]) -> list[int]:
        """Return for each key its image in the sorted arrays, or 0. Image ids are positive."""
        if not len(self._highs):
            return [0] * len(keys)
        highs, lows = _halves(keys)
        places = np.minimum(np.searchsorted(self._highs, highs), len(self._highs) - 1)
        same = (self._highs[places] == highs) & (self._lows[places] == lows)
        found: list[int] = np.where(same, self._images[places], 0).tolist()
        return found

    def _merge(self) -> None:
        highs, lows = _halves(list(self._recent))
        images = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        highs, lows = np.concatenate([self._highs, highs]), np.concatenate([self._lows, lows])
        order = np.argsort(highs, kind="stable")
        self._highs, self._lows = highs[order], lows[order]
        self._images = np.concatenate([self._images, images])[order]
        self._recent = {}


def _keys(vectors: Matrix) -> list[bytes]:
    rounded = np.rint(normalised(vectors) * STEPS).astype("<i2")
    return [blake2b(row.tobytes(), digest_size=KEY_BYTES).digest() for row in rounded]


def _halves(keys: Sequence[bytes]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    halves = np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2)
    return halves[:, 0], halves[:, 1]
