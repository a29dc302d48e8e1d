"""When a fetch has too few images, and what the error says."""

import pytest

from trainer.fetch.failure_policy import (
    TooFewImages,
    TooManyRemovals,
    require_enough_images,
    require_few_removals,
)


@pytest.mark.parametrize(
    ("failures", "total"),
    [({}, 1), ({"not_found": 99}, 100), ({"timeout": 50}, 100), ({"timeout": 50, "not_found": 49}, 100)],
)
def test_enough_images_raise_no_error(failures: dict[str, int], total: int) -> None:
    require_enough_images(failures, total, max_transient=0.5)


@pytest.mark.parametrize(
    ("failures", "total", "code"),
    [
        ({}, 0, "no_images_indexed"),
        ({"timeout": 3}, 3, "no_images_indexed"),
        ({"not_found": 1, "of_a_later_release": 2}, 3, "no_images_indexed"),
        ({"timeout": 30, "server_error": 21, "not_found": 40}, 100, "too_many_failures"),
    ],
)
def test_too_few_images_raise_an_error_with_the_reasons_that_count(
    failures: dict[str, int], total: int, code: str
) -> None:
    with pytest.raises(TooFewImages) as caught:
        require_enough_images(failures, total, max_transient=0.5)
    assert caught.value.code == code
    counted = {reason for reason in failures if code == "no_images_indexed" or reason != "not_found"}
    assert {reason for reason in failures if f"{reason}: {failures[reason]}" in caught.value.message} == counted


def test_a_refresh_may_remove_a_tenth_and_no_more() -> None:
    require_few_removals({"not_found": 10}, 100, most=0.1)
    with pytest.raises(TooManyRemovals) as caught:
        require_few_removals({"not_found": 10, "forbidden": 1}, 100, most=0.1)
    assert "11 of 100" in caught.value.message
    assert "not_found: 10, forbidden: 1" in caught.value.message
    assert "force=true" in caught.value.message
