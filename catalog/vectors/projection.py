"""The linear adapter as bytes and as a function, so that trainer and gateway apply it in exactly the same way."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

Matrix = npt.NDArray[np.float32]

TENSOR, MEAN = "projection", "mean"


@dataclass(frozen=True)
class Projection:
    """A linear map. matrix: float32 [input dimension, output dimension].

    mean: the mean direction [input dimension] of the vectors that the map was made for; None if it is unknown.
    """

    matrix: Matrix
    mean: Matrix | None = None

    def apply(self, vectors: Matrix) -> Matrix:
        """Map the backbone's vectors [n, input] to unit vectors of the fine-tuned space [n, output].

        Vectors are scaled to length 1 before and after. A zero vector stays zero.
        """
        return normalised(normalised(vectors) @ self.matrix)

    def typicality(self, vector: Matrix) -> float | None:
        """Return the cosine similarity of one of the backbone's vectors [input] to the mean; None without a mean."""
        return None if self.mean is None else float(normalised(vector[np.newaxis])[0] @ self.mean)

    def to_bytes(self, lineage: Mapping[str, str] | None = None) -> bytes:
        """Serialise as safetensors. lineage: how the adapter was made, stored as the file's metadata."""
        tensors = {TENSOR: np.ascontiguousarray(self.matrix)}
        if self.mean is not None:
            tensors[MEAN] = np.ascontiguousarray(self.mean)
        return save(tensors, None if lineage is None else dict(lineage))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Projection":
        """Parse safetensors bytes. Raises SafetensorError or KeyError when they hold no projection."""
        tensors = load(data)
        return cls(tensors[TENSOR], tensors.get(MEAN))


def normalised(vectors: Matrix) -> Matrix:
    """Return the rows [n, d] scaled to Euclidean length 1. Zero rows stay zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Matrix = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit
