"""The linear adapter as bytes and as a function: trainer and gateway must do exactly the same with it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

Matrix = npt.NDArray[np.float32]

TENSOR = "projection"


@dataclass(frozen=True)
class Projection:
    """A matrix, float32 [input dimension, output dimension]."""

    matrix: Matrix

    def apply(self, vectors: Matrix) -> Matrix:
        """Maps the backbone's vectors [n, input] to unit vectors of the fine-tuned space [n, output].

        Vectors are brought to length 1 before and after; one of length 0 stays 0.
        """
        return normalised(normalised(vectors) @ self.matrix)

    def to_bytes(self, lineage: Mapping[str, str] | None = None) -> bytes:
        """As safetensors. lineage: where it comes from, kept as the file's metadata."""
        return save({TENSOR: np.ascontiguousarray(self.matrix)}, None if lineage is None else dict(lineage))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Projection":
        """Raises safetensors.SafetensorError or KeyError when the bytes are no projection."""
        return cls(load(data)[TENSOR])


def normalised(vectors: Matrix) -> Matrix:
    """Rows [n, d] at Euclidean length 1; rows of zeros stay as they are."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Matrix = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit
