"""Near pairs: found whether all vectors are compared or only those of a cell."""

import numpy as np
import pytest

from catalog.vectors.projection import Matrix, normalised
from trainer.duplicates import near_pairs as module
from trainer.duplicates.near_pairs import NearPairs, Pairs, UnitVectors, cells

DIM = 32


def vectors(count: int, seed: int = 0) -> Matrix:
    return normalised(np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32))


def near(unit: UnitVectors, least: float) -> Pairs:
    found = NearPairs(unit, least)
    found.compare(cells(unit))
    return found.pairs()


def as_set(pairs: Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


def test_all_pairs_above_the_similarity_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 7)
    unit = vectors(60)
    scores = unit @ unit.T
    expected = {(a, b) for a in range(60) for b in range(a + 1, 60) if scores[a, b] >= 0.2}
    found = near(unit, 0.2)
    assert len(found) == len(expected) > 50
    assert as_set(found) == expected
    np.testing.assert_allclose(found.scores, scores[found.first, found.second], atol=1e-6)


def test_near_vectors_of_a_large_set_meet_in_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALL_PAIRS", 100)
    once = vectors(2000)
    again = normalised(once + 0.1 * vectors(2000, 1))
    unit = np.concatenate([once, again]).astype(np.float16)
    assert sum(len(rows) for rows in cells(unit)) == module.CELLS_OF_VECTOR * len(unit)
    found = as_set(near(unit, 0.98))
    wanted = {(row, row + 2000) for row in range(2000)}
    assert len(found & wanted) / len(wanted) > 0.99
    assert found <= wanted


def test_vectors_that_are_all_alike_cost_a_bounded_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PAIRS", 5)
    alike = normalised(np.ones((200, DIM), np.float32) + 0.01 * vectors(200))
    assert 0 < len(near(alike, 0.9)) <= 5 * 200
    assert 0 < len(near(np.ones((200, 1), np.float32), 0.9)) <= 5 * 200


def test_a_cell_of_equal_vectors_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALL_PAIRS", 100)
    alike = np.ones((1000, DIM), np.float32) / DIM**0.5
    found = cells(alike)
    assert max(map(len, found)) <= 100
    assert sum(map(len, found)) == module.CELLS_OF_VECTOR * 1000
    assert len(near(alike, 0.9)) > 1000


def test_of_too_many_pairs_the_nearest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW_PAIRS", 0)
    monkeypatch.setattr(module, "PAIRS_OF_VECTOR", 2)
    unit = vectors(100)
    collected = NearPairs(unit, -0.9)
    for rows in (np.arange(60), np.arange(40, 100), np.arange(100)):
        collected.compare([rows])
    pairs = collected.pairs()
    scores = np.sort((unit @ unit.T)[np.triu_indices(100, k=1)])[::-1]
    assert 200 <= len(pairs) <= 400
    assert collected.least == pytest.approx(scores[199], abs=0.02)
    np.testing.assert_allclose(np.sort(pairs.scores)[::-1][:190], scores[:190], atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_sets_without_a_near_pair_have_none(count: int) -> None:
    assert len(near(np.eye(DIM, dtype=np.float32)[:count], 0.5)) == 0
