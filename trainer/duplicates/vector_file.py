"""A file of unit vectors, so that memory does not grow with the collection."""

import os
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from catalog.vectors.projection import Matrix, normalised
from servicekit.errors import NoSpace
from trainer.duplicates.near_pairs import UnitVectors

BLOCK = 4096
# Left free on the disk, for everything else that needs it.
FREE_BYTES = 256 * 1024 * 1024


class VectorFile:
    """Vectors of length 1 in an open file, with two bytes for each number."""

    def __init__(self, file: IO[bytes], most_bytes: int | None = None) -> None:
        """file: empty. It must stay open as long as the vectors are used. most_bytes: its largest size; None: any."""
        self._file = file
        self._most_bytes = most_bytes
        self._count = 0
        self._dim = 0

    def add(self, vectors: Matrix) -> None:
        """Append vectors [n, dim] of any length. Raises NoSpace, before the disk is full."""
        data = normalised(vectors).astype(np.float16).tobytes()
        size = self._file.tell() + len(data)
        if self._most_bytes is not None and size > self._most_bytes:
            message = f"The vectors of this collection need more than {self._most_bytes} bytes of temporary files."
            raise NoSpace(f"{message} Raise SIMILIS_VOLUME_LIMIT with the size of the volume.")
        disk = os.fstatvfs(self._file.fileno())
        if disk.f_bavail * disk.f_frsize < len(data) + FREE_BYTES:
            raise NoSpace("The disk for temporary files is nearly full.")
        self._file.write(data)
        self._file.flush()
        self._count += len(vectors)
        self._dim = vectors.shape[1]

    def vectors(self) -> UnitVectors:
        """Return all vectors, float16 [n, dim]. The operating system reads them from the file as they are used."""
        return np.memmap(self._file, np.float16, "r+", shape=(self._count, self._dim))

    def sample(self, most: int) -> Matrix:
        """Return at most `most` vectors [m, dim], at equal distances in the file."""
        rows = np.linspace(0, self._count - 1, min(self._count, most), dtype=np.int64)
        return self.vectors()[rows].astype(np.float32)

    def blocks(self) -> Iterator[slice]:
        """Yield the positions of all vectors, some at a time."""
        for start in range(0, self._count, BLOCK):
            yield slice(start, start + BLOCK)

    def replace(self, rows: slice, change: Callable[[Matrix], Matrix]) -> None:
        """Replace some vectors by what `change` returns for them, of the same shape."""
        vectors = self.vectors()
        vectors[rows] = change(vectors[rows].astype(np.float32)).astype(np.float16)
