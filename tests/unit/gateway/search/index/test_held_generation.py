"""A generation in memory answers what comparing all vectors one by one answers."""

from typing import Any

import numpy as np
import pytest

from catalog.vectors.projection import Matrix, normalised
from gateway.search.index.held_generation import LEAST_POINTS, HeldGeneration, _Rotated, size_of

POINTS, DIM = 200, 16


@pytest.fixture
def held() -> HeldGeneration:
    random = np.random.default_rng(1)
    vectors = normalised(random.normal(size=(POINTS, DIM)).astype(np.float32))
    # Neither the ids nor the places are in order.
    return HeldGeneration(random.permutation(POINTS).astype(np.int64) * 7, vectors)


@pytest.mark.parametrize("limit", [1, 13, POINTS - 1, POINTS, 10 * POINTS])
def test_the_nearest_are_those_of_an_exhaustive_comparison(held: HeldGeneration, limit: int) -> None:
    query = normalised(np.random.default_rng(2).normal(size=(1, DIM)).astype(np.float32))[0]
    one_by_one = {
        int(identifier): float(np.dot(held.of([int(identifier)])[int(identifier)].astype(np.float64), query))
        for identifier in range(0, 7 * POINTS, 7)
    }
    wanted = sorted(one_by_one, key=lambda identifier: -one_by_one[identifier])[:limit]
    found = held.nearest(query, limit)
    assert [hit.image_id for hit in found] == wanted
    assert [hit.score for hit in found] == pytest.approx([one_by_one[identifier] for identifier in wanted], abs=1e-6)


def test_a_copy_scores_at_most_one(held: HeldGeneration) -> None:
    for identifier in range(0, 7 * POINTS, 7):
        best = held.nearest(held.of([identifier])[identifier], 1)[0]
        assert best.image_id == identifier
        assert 0.999999 < best.score <= 1


def test_of_equal_scores_as_many_are_found_as_are_asked_for() -> None:
    held = HeldGeneration(np.array([5, 3, 9, 1], dtype=np.int64), np.ones((4, 1), np.float32))
    first = [hit.image_id for hit in held.nearest(np.ones(1, np.float32), 2)]
    assert len(first) == 2
    assert first == [hit.image_id for hit in held.nearest(np.ones(1, np.float32), 2)]
    assert {hit.image_id for hit in held.nearest(np.ones(1, np.float32), 4)} == {1, 3, 5, 9}


def test_images_without_a_point_are_left_out(held: HeldGeneration) -> None:
    assert list(held.of([-1, 7, 8, 7 * POINTS])) == [7]
    assert held.of([]) == {}


def clustered(points: int, dim: int, seed: int) -> Matrix:
    """Return unit vectors around a few directions, most of whose spread is in some of them, as that of images."""
    random = np.random.default_rng(seed)
    spread = (0.97 ** np.arange(dim)).astype(np.float32)
    centres = random.normal(size=(20, dim)).astype(np.float32) * spread
    noise = 0.6 * random.normal(size=(points, dim)).astype(np.float32) * spread
    return normalised((centres[random.integers(0, 20, points)] + noise) @ ortho_group(dim, seed))


def ortho_group(dim: int, seed: int) -> Matrix:
    rotation: Matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0].astype(np.float32)
    return rotation


@pytest.mark.parametrize("points", [LEAST_POINTS, 4003])
def test_a_search_that_leaves_vectors_out_finds_the_same(points: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clustered(points, 256, 3)
    # Groups of equal vectors, too.
    vectors[100:130] = vectors[0]
    held = HeldGeneration(np.arange(points, dtype=np.int64), vectors)
    remaining: list[int | None] = []
    candidates = _Rotated.candidates

    def noted(*arguments: Any) -> Any:
        found = candidates(*arguments)
        remaining.append(None if found is None else len(found))
        return found

    monkeypatch.setattr(_Rotated, "candidates", noted)
    random = np.random.default_rng(4)
    unlike = normalised(random.normal(size=(10, 256)).astype(np.float32))
    between = normalised(vectors[random.integers(0, points, 40)] + vectors[random.integers(0, points, 40)])
    for query in (*vectors[90:110], *between, *-between[:5], *unlike, np.zeros(256, np.float32)):
        exact = vectors.astype(np.float64) @ query
        for limit in (1, 13, 40):
            wanted = np.sort(exact)[::-1][:limit]
            found = held.nearest(query, limit)
            assert [hit.score for hit in found] == pytest.approx(np.minimum(wanted, 1.0).tolist(), abs=1e-6)
            assert [exact[hit.image_id] for hit in found] == pytest.approx(wanted.tolist(), abs=1e-6)
            assert len({hit.image_id for hit in found}) == limit
    left_out = [points - each for each in remaining if each is not None]
    assert len(left_out) > len(remaining) / 3, "the bounds leave vectors out"
    assert any(each is None for each in remaining), "and sometimes they cannot"


@pytest.mark.parametrize(("points", "dim"), [(POINTS, DIM), (LEAST_POINTS, 256)])
def test_the_size_is_known_before(points: int, dim: int) -> None:
    held = HeldGeneration(np.arange(points, dtype=np.int64), clustered(points, dim, 5))
    rotated = held._rotated
    arrays = [held._vectors, *([] if rotated is None else [rotated._first, rotated._rest, rotated._rotation])]
    assert held.size == size_of(points, dim) == sum(array.nbytes for array in arrays)
