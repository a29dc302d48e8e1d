"""The file of vectors: limited in size, and it leaves room on the disk."""

import tempfile

import numpy as np
import pytest

from servicekit.errors import NoSpace
from trainer.duplicates import vector_file as module
from trainer.duplicates.vector_file import VectorFile

VECTORS = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)


def test_vectors_have_length_1_and_are_replaced_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 3)
    with tempfile.TemporaryFile() as file:
        stored = VectorFile(file)
        stored.add(VECTORS[:6])
        stored.add(VECTORS[6:])
        lengths = np.linalg.norm(VECTORS, axis=1, keepdims=True)
        np.testing.assert_allclose(stored.vectors(), VECTORS / lengths, atol=1e-3)
        np.testing.assert_array_equal(stored.sample(2), stored.vectors()[[0, 9]])
        for rows in stored.blocks():
            stored.replace(rows, lambda vectors: -vectors)
        np.testing.assert_allclose(stored.vectors(), -VECTORS / lengths, atol=1e-3)


def test_a_file_that_would_be_too_large_is_refused() -> None:
    with tempfile.TemporaryFile() as file:
        stored = VectorFile(file, most_bytes=100)
        stored.add(VECTORS)
        with pytest.raises(NoSpace, match="more than 100 bytes"):
            stored.add(VECTORS)
        assert len(stored.vectors()) == 10


def test_a_disk_that_is_nearly_full_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 1 << 60)
    with tempfile.TemporaryFile() as file, pytest.raises(NoSpace, match="nearly full"):
        VectorFile(file).add(VECTORS)
