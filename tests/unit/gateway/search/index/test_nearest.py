"""Which points have to be read to know the runner-ups of a query."""

from typing import Any

import numpy as np

from catalog.images import Image
from catalog.indexes import Index
from catalog.vectors.false_matches import FALSE_MATCH_RATES, NOT_CALIBRATED, FalseMatches
from catalog.vectors.generations import Hit
from gateway.search.index.nearest import SURROUNDINGS, Found
from gateway.search.query_vectors import QueryPart, QueryVector
from gateway.search.question import Example, Question

LIMITS = tuple(1 - number / 100 for number in range(len(FALSE_MATCH_RATES)))
CALIBRATED = FalseMatches(LIMITS, LIMITS)


def found(points: int, *, calibration: FalseMatches = CALIBRATED, are_all: bool = False, **asked: Any) -> Found:
    """Return points 1, 2, …, whose scores fall by 0.01."""
    index = Index(1, 1, 1, "generation", None, "backbone", 2, false_matches=calibration)
    hits = [Hit(number, 1 - number / 100) for number in range(1, points + 1)]
    question = Question([Example(image=b"")], num_results=5, **asked)
    return Found(index, QueryVector(QueryPart(np.ones(2, np.float32), "", 1)), question, 6, hits, are_all)


def images(points: int, *, of_first_entry: int) -> dict[int, Image]:
    """Return the images of points. The first ones belong to one entry, and each of the others to its own."""
    entries = {number: max(number, of_first_entry) for number in range(1, points + 1)}
    return {number: Image(number, "", f"entry-{entry}", 1) for number, entry in entries.items()}


def test_points_of_four_objects_show_the_runner_ups() -> None:
    assert found(12).shows_runner_ups(images(12, of_first_entry=9))
    assert found(12).runner_ups(images(12, of_first_entry=9)) == [0.9, 0.89, 0.88]


def test_points_of_fewer_objects_do_not_show_the_runner_ups_if_there_are_more() -> None:
    assert not found(12).shows_runner_ups(images(12, of_first_entry=10))
    assert found(12, are_all=True).shows_runner_ups(images(12, of_first_entry=10))


def test_where_one_object_fills_the_surroundings_the_last_score_stands_for_the_others() -> None:
    whole = images(SURROUNDINGS, of_first_entry=SURROUNDINGS)
    assert found(SURROUNDINGS).shows_runner_ups(whole)
    assert found(SURROUNDINGS).runner_ups(whole) == [0.5, 0.5, 0.5]


def test_images_that_are_left_out_are_no_runner_ups() -> None:
    shown = images(12, of_first_entry=1)
    assert found(12, exclude=frozenset({2, 3})).runner_ups(shown) == [0.96, 0.95, 0.94]


def test_an_index_without_prominences_needs_the_rows_of_possible_results_only() -> None:
    plain = found(12, calibration=NOT_CALIBRATED)
    assert plain.points().ids == [1, 2, 3, 4, 5, 6]
    assert plain.shows_runner_ups({})
    assert found(12).points().ids == list(range(1, 13))
