"""The linear adapter as bytes and as a function, so that trainer and gateway apply it in exactly the same way."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

Matrix = npt.NDArray[np.float32]

TENSOR = "projection"


@dataclass(frozen=True)
class Projection:
    """A linear map. matrix: float32 [input dimension, output dimension]."""

    matrix: Matrix

    def apply(self, vectors: Matrix) -> Matrix:
        """Map the backbone's vectors [n, input] to unit vectors of the fine-tuned space [n, output].

        Vectors are scaled to length 1 before and after. A zero vector stays zero.
        """
        return normalised(normalised(vectors) @ self.matrix)

    def to_bytes(self, lineage: Mapping[str, str] | None = None) -> bytes:
        """Serialise as safetensors. lineage: how the adapter was made, stored as the file's metadata."""
        return save({TENSOR: np.ascontiguousarray(self.matrix)}, None if lineage is None else dict(lineage))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Projection":
        """Parse safetensors bytes. Raises SafetensorError or KeyError when they hold no projection."""
        return cls(load(data)[TENSOR])


def normalised(vectors: Matrix) -> Matrix:
    """Return the rows [n, d] scaled to Euclidean length 1. Zero rows stay zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Matrix = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit
