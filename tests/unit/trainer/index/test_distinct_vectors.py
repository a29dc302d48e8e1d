import numpy as np
import pytest

from catalog.indexed_images import EqualImage
from catalog.vectors.projection import Matrix, normalised
from trainer.index import distinct_vectors as module
from trainer.index.distinct_vectors import DistinctVectors

DIM = 64


def vectors(count: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def test_the_first_image_of_each_vector_is_new_and_the_others_are_counted() -> None:
    a, b, c = vectors(3)
    distinct = DistinctVectors()
    assert distinct.add([10, 11, 12], np.array([a, b, a])) == ([0, 1], [EqualImage(10, 1, 12)])
    new, equal = distinct.add([13, 14, 15, 16], np.array([c, a, b, c]))
    assert new == [0]
    assert equal == [EqualImage(10, 2, 14), EqualImage(11, 1, 15), EqualImage(13, 1, 16)]


def test_earlier_vectors_are_remembered_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MERGE_AT", 100)
    distinct, written = DistinctVectors(), vectors(1000)
    for start in range(0, 1000, 70):
        page = written[start : start + 70]
        assert distinct.add(range(start + 1, start + 1 + len(page)), page) == (list(range(len(page))), [])
    new, equal = distinct.add(range(2001, 3001), written)
    assert new == []
    assert equal == [EqualImage(number, 1, 2000 + number) for number in range(1, 1001)]


def test_the_last_bits_of_a_vector_do_not_matter() -> None:
    written = vectors(200)
    noise = np.random.default_rng(1).uniform(-3e-7, 3e-7, written.shape)
    distinct = DistinctVectors()
    distinct.add(range(1, 201), written)
    new, _ = distinct.add(range(201, 401), (written * (1 + noise)).astype(np.float32))
    # A number close to the border between two steps may be rounded the other way.
    assert len(new) <= 2


def test_near_copies_are_different_vectors() -> None:
    written = normalised(vectors(200))
    aside = normalised(vectors(200, seed=1))
    copies = normalised(written + 0.002 * aside)
    assert (written * copies).sum(axis=1).min() > 0.99999
    distinct = DistinctVectors()
    distinct.add(range(1, 201), written)
    assert len(distinct.add(range(201, 401), copies)[0]) == 200


def test_zero_vectors_are_equal() -> None:
    assert DistinctVectors().add([1, 2], np.zeros((2, DIM), np.float32)) == ([0], [EqualImage(1, 1, 2)])
