"""Results of several collections are merged by percentile, and only so many of them are kept."""

from typing import Any

from catalog.indexes import Index
from gateway.search.across import Merging
from gateway.search.index.nearest import SearchResult
from gateway.search.service import Ranking

COLLECTIONS = {number: Index(number + 100, number, 1, "", None, "", 64) for number in (1, 2, 3)}


def ranking(collection: int, *rated: tuple[float, float | None, float], **options: Any) -> Ranking:
    """Return a ranking of images with these percentiles, false match rates and scores."""
    results = [
        SearchResult(place, "", "", score, percentile, rate) for place, (percentile, rate, score) in enumerate(rated)
    ]
    return Ranking(COLLECTIONS[collection], results, **options)


def found(merging: Merging) -> list[tuple[int, int]]:
    return [(found.index.collection_id, found.result.image_id) for found in merging.best]


def test_the_order_is_by_percentile_then_false_match_rate_then_score() -> None:
    merging = Merging(depth=100)
    merging.add(ranking(2, (100, 0.5, 0.9), (99, 0.6, 0.8), (99, 0.6, 0.8)))
    merging.add(ranking(1, (100, 0.1, 0.4), (100, 0.5, 0.3), (99, 0.6, 0.8), (98, 0.9, 0.2)))
    merging.add(ranking(3, (100, None, 0.99), (99.5, None, 0.98)))
    assert found(merging) == [(1, 0), (2, 0), (1, 1), (3, 0), (3, 1), (1, 2), (2, 1), (2, 2), (1, 3)]


def test_only_as_many_results_are_kept_as_are_needed() -> None:
    merging = Merging(depth=3)
    for collection in COLLECTIONS:
        merging.add(ranking(collection, (100 - collection, None, 0.5), (50, None, 0.4), (40, None, 0.3)))
    assert found(merging) == [(1, 0), (2, 0), (3, 0)]


def test_a_warning_names_its_collection() -> None:
    merging = Merging(depth=3)
    merging.add(ranking(2, cut_off="Cut off."))
    assert merging.warnings == ["Collection 2: Cut off."]
