"""The linear adapter as bytes and as a function."""

import numpy as np
import pytest
from safetensors import SafetensorError

from catalog.vectors.projection import Projection, normalised


def test_a_projection_survives_serialisation() -> None:
    matrix = np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32)
    # Slices of a basis are not contiguous, so neither is this matrix.
    projection = Projection(np.asfortranarray(matrix))
    vectors = np.random.default_rng(2).normal(size=(7, 20)).astype(np.float32)
    restored = Projection.from_bytes(projection.to_bytes())
    np.testing.assert_array_equal(restored.matrix, matrix)
    np.testing.assert_array_equal(restored.apply(vectors), projection.apply(vectors))


def test_malformed_bytes_are_refused() -> None:
    for data in (b"", b"nonsense", b"\xff" * 100):
        with pytest.raises(SafetensorError):
            Projection.from_bytes(data)


def test_results_have_length_one_and_zero_vectors_stay_zero() -> None:
    projection = Projection(np.eye(4, 3, dtype=np.float32))
    tuned = projection.apply(np.array([[3, 4, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=np.float32))
    np.testing.assert_allclose(tuned, np.array([[0.6, 0.8, 0], [0, 0, 0], [0, 0, 0]], dtype=np.float32), atol=1e-6)
    assert normalised(np.zeros((0, 4), dtype=np.float32)).shape == (0, 4)


def test_the_mean_is_stored_with_the_map() -> None:
    plain = Projection(np.eye(3, 2, dtype=np.float32))
    assert plain.typicality(np.array([1, 0, 0], np.float32)) is None
    assert Projection.from_bytes(plain.to_bytes()).mean is None
    mean = np.array([0.6, 0.8, 0], np.float32)
    stored = Projection.from_bytes(Projection(plain.matrix, mean).to_bytes())
    assert stored.typicality(np.array([10, 0, 0], np.float32)) == pytest.approx(0.6)
