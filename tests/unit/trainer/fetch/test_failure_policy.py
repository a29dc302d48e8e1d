"""When too few images were had, and what is said of it."""

import pytest

from trainer.download.failures import LASTING, MAY_PASS, Reason
from trainer.fetch.failure_policy import TooFewImages, judge


@pytest.mark.parametrize(
    ("failures", "total"),
    [({}, 1), ({"not_found": 99}, 100), ({"timeout": 50}, 100), ({"timeout": 50, "not_found": 49}, 100)],
)
def test_enough_images_are_enough(failures: dict[str, int], total: int) -> None:
    judge(failures, total, max_transient=0.5)


@pytest.mark.parametrize(
    ("failures", "total", "code"),
    [
        ({}, 0, "no_images_indexed"),
        ({"timeout": 3}, 3, "no_images_indexed"),
        ({"not_found": 1, "of_a_later_release": 2}, 3, "no_images_indexed"),
        ({"timeout": 30, "server_error": 21, "not_found": 40}, 100, "too_many_failures"),
    ],
)
def test_too_few_are_said_with_their_reasons(failures: dict[str, int], total: int, code: str) -> None:
    with pytest.raises(TooFewImages) as caught:
        judge(failures, total, max_transient=0.5)
    assert caught.value.code == code
    assert all(reason in caught.value.message for reason in failures if code == "no_images_indexed")


def test_what_may_pass_is_what_another_try_could_mend() -> None:
    assert {reason.value for reason in MAY_PASS} == {
        "dns_error",
        "connection_error",
        "timeout",
        "host_unavailable",
        "rate_limited",
        "server_error",
    }
    assert not Reason.NOT_FOUND.may_pass


def test_what_lasts_will_not_pass_and_is_not_our_own_fault() -> None:
    assert not LASTING & MAY_PASS
    assert Reason.NOT_FOUND in LASTING
    assert Reason.EMBEDDING_FAILED not in LASTING | MAY_PASS
