"""The projection: orthonormal, deterministic, and defined for one image and up."""

import numpy as np
import pytest

from catalog.vectors.projection import Projection, normalised
from trainer.adapter.numerics import numerics_executor
from trainer.learning.directions import DIMENSION, accumulate, principal_directions


def fitted(vectors: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> Projection:
    moment = np.zeros((vectors.shape[1], vectors.shape[1]))
    accumulate(moment, vectors)
    # On one thread, as the trainer does: two that wait for each other beside busy neighbours take minutes.
    with numerics_executor() as executor:
        return Projection(executor.submit(principal_directions, moment, DIMENSION).result())


def some(count: int, dim: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return np.abs(np.random.default_rng(count).normal(size=(count, dim))).astype(np.float32)


@pytest.mark.parametrize(("count", "dim"), [(1, 300), (2, 300), (280, 300), (1, 16), (50, 16), (0, 16)])
def test_the_matrix_is_orthonormal_whatever_the_images(count: int, dim: int) -> None:
    matrix = fitted(some(count, dim)).matrix
    assert matrix.shape == (dim, min(DIMENSION, dim))
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-4)


def test_one_image_finds_itself() -> None:
    vectors = some(1, 300)
    tuned = fitted(vectors).apply(vectors)
    assert tuned[0] @ tuned[0] == pytest.approx(1.0, abs=1e-5)


def test_up_to_256_images_keep_their_similarities() -> None:
    vectors = some(200, 300)
    unit = normalised(vectors)
    tuned = fitted(vectors).apply(vectors)
    np.testing.assert_allclose(tuned @ tuned.T, unit @ unit.T, atol=1e-3)


def test_the_same_images_give_the_same_matrix() -> None:
    vectors = some(40, 64)
    np.testing.assert_array_equal(fitted(vectors).matrix, fitted(vectors.copy()).matrix)
    matrix = fitted(vectors).matrix
    largest = np.take_along_axis(matrix, np.abs(matrix).argmax(axis=0, keepdims=True), axis=0)
    assert (largest > 0).all()


def test_a_collection_without_vectors_is_not_an_error() -> None:
    assert np.isfinite(fitted(np.zeros((3, 16), dtype=np.float32)).matrix).all()
