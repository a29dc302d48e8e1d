"""The pace of a host: every image of a slow or limited host comes, in about the time that the host needs."""

from math import inf

import pytest

from servicekit.download.host_pace import OPEN_AFTER, OPEN_SECONDS, PROBE_SECONDS, SUSPECT_AFTER, Held, HostPace
from tests.unit.servicekit.download.played_hosts import LimitedHost, RestartingHost, SerialHost, download_all


def fail(pace: HostPace, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        request = pace.begin(now)
        pace.silent(request, now)
        pace.end()


def answer(pace: HostPace, times: int, now: float = 0.0, seconds: float = 0.1) -> None:
    for _ in range(times):
        request = pace.begin(now)
        pace.answered(request, now + seconds)
        pace.end()


def refuse(pace: HostPace, now: float, seconds: float | None = None) -> None:
    request = pace.begin(now)
    pace.refused(request, now, seconds)
    pace.end()


@pytest.mark.parametrize(("seconds", "images"), [(4.0, 24), (20.0, 24), (50.0, 12)])
def test_a_host_that_makes_one_image_after_the_other_loses_none_and_is_kept_busy(seconds: float, images: int) -> None:
    found = download_all(SerialHost(seconds), images)
    assert (found.counts["lost"], found.counts["silences"]) == (0, 0)
    assert found.seconds == pytest.approx(seconds * images)
    assert found.pace.held(found.seconds) is Held.SLOW


@pytest.mark.parametrize("wait", [1.0, None])
def test_a_host_that_allows_one_request_a_second_loses_no_image_and_refuses_few(wait: float | None) -> None:
    found = download_all(LimitedHost(1.0, wait=wait), 120)
    assert found.counts["lost"] == 0
    assert found.counts["refusals"] <= 24
    assert found.seconds < 1.25 * 120
    assert found.pace.held(found.seconds) is Held.RATE_LIMITED


@pytest.mark.parametrize(
    ("host", "images"),
    [
        (LimitedHost(2.0, burst=2.0), 60),
        (LimitedHost(10.0, burst=20.0, wait=1.0), 500),
        (LimitedHost(0.2, wait=5.0), 30),
        (LimitedHost(100 / 60, burst=100.0, wait=20.0), 500),
        (LimitedHost(1.0, wait=1.0, seconds=3.0), 60),
    ],
)
def test_hosts_with_other_limits_are_asked_at_their_rate(host: LimitedHost, images: int) -> None:
    found = download_all(host, images)
    assert found.counts["lost"] == 0
    assert found.counts["refusals"] <= 6 + images * 0.2
    assert found.seconds < 1.7 * (images - host.burst) / host.rate


def test_a_fast_host_gets_as_many_requests_at_a_time_as_are_allowed_after_a_few_answers() -> None:
    pace = HostPace(most=8, patience=300)
    assert pace.at_once == 1
    answer(pace, 7)
    assert pace.at_once == 8
    assert pace.held(1.0) is None


def test_a_host_that_is_away_for_less_than_a_minute_loses_no_image() -> None:
    found = download_all(RestartingHost(down=5.0, up=5.0 + OPEN_SECONDS - 10), 2000)
    assert found.counts["lost"] == 0


def test_a_host_that_stays_away_is_given_up() -> None:
    found = download_all(RestartingHost(down=5.0, up=inf), 2000)
    assert found.counts["lost"] > 1000
    assert found.counts["silences"] < 100
    assert found.seconds < 5 + 2 * OPEN_SECONDS


def test_several_requests_that_fail_together_halve_the_pace_once_and_later_answers_raise_it_slowly() -> None:
    pace = HostPace(most=8, patience=300)
    answer(pace, 7)
    requests = [pace.begin(10.0) for _ in range(8)]
    for request in requests[:4]:
        pace.end()
        assert not pace.silent(request, 70.0)
    assert pace.at_once == 4
    for request in requests[4:]:
        pace.end()
        pace.answered(request, 71.0, overloaded=True)
    assert pace.at_once == 4
    answer(pace, 5, now=72.0)
    assert pace.at_once == 5


def test_an_image_is_blamed_for_its_silence_if_the_host_answered_later_requests() -> None:
    pace = HostPace(most=8, patience=300)
    answer(pace, 7)
    silent = pace.begin(10.0)
    answer(pace, 3, now=11.0)
    pace.end()
    assert pace.silent(silent, 70.0)
    assert pace.at_once == 8


def test_an_image_is_blamed_for_its_silence_if_nothing_else_was_asked_for() -> None:
    pace = HostPace(most=1, patience=300)
    answer(pace, 1)
    request = pace.begin(10.0)
    assert pace.silent(request, 70.0)


def test_a_pause_holds_for_all_images_and_outlasts_an_answer() -> None:
    pace = HostPace(most=8, patience=300)
    answer(pace, 3)
    late = pace.begin(1.0)
    refuse(pace, 1.0, seconds=30.0)
    pace.end()
    pace.answered(late, 2.0)
    assert pace.delay(2.0) == 29.0


def test_pauses_without_a_time_get_longer_until_an_answer_comes() -> None:
    pace = HostPace(most=1, patience=1000)
    pauses = []
    now = 0.0
    for _ in range(8):
        refuse(pace, now)
        pauses.append(pace.delay(now))
        now += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    answer(pace, 100, now=now)
    refuse(pace, now + 1)
    assert pace.delay(now + 1) == 1


@pytest.mark.parametrize(("seconds", "pause"), [(120.0, 120.0), (1e9, 60.0)])
def test_a_pause_is_as_long_as_the_host_asks_for_unless_it_asks_for_too_much(seconds: float, pause: float) -> None:
    pace = HostPace(most=8, patience=300)
    refuse(pace, 0.0, seconds=seconds)
    assert pace.delay(0.0) == pause


def test_a_host_that_only_asks_for_pauses_is_given_up_when_the_patience_ends() -> None:
    found = download_all(LimitedHost(1e-9, burst=0.5), 20, patience=300)
    assert found.counts["lost"] == 20
    assert 300 <= found.seconds < 400


def test_a_suspected_host_gets_one_request_at_a_time_and_no_retries_if_it_has_never_answered() -> None:
    pace = HostPace(most=8, patience=300)
    fail(pace, SUSPECT_AFTER)
    assert pace.at_once == 1
    assert pace.refusal(0.0, retry=True) == "The host does not answer."
    assert pace.refusal(0.0, retry=False) is None


def test_a_dead_host_is_given_up_and_probed_now_and_then() -> None:
    pace = HostPace(most=8, patience=300)
    fail(pace, OPEN_AFTER)
    assert pace.refusal(1.0, retry=False)
    assert pace.refusal(PROBE_SECONDS, retry=False) is None
    pace.begin(PROBE_SECONDS)
    assert pace.refusal(PROBE_SECONDS + 1, retry=False), "nobody waits for the probe"
    assert pace.held(1.0) is Held.SILENT


def test_one_answer_resets_the_count_of_failures() -> None:
    pace = HostPace(most=8, patience=300)
    fail(pace, OPEN_AFTER)
    answer(pace, 1, now=PROBE_SECONDS)
    assert pace.refusal(PROBE_SECONDS + 1, retry=True) is None
    fail(pace, SUSPECT_AFTER - 1, now=100.0)
    assert pace.refusal(101.0, retry=True) is None


def test_a_time_without_images_does_not_slow_down_what_follows() -> None:
    pace = HostPace(most=8, patience=300)
    refuse(pace, 0.0, seconds=1.0)
    answer(pace, 10, now=1.0)
    answer(pace, 10, now=5000.0)
    refuse(pace, 5001.0, seconds=1.0)
    assert pace.delay(5001.0) <= 1.5


def stall(pace: HostPace, times: int, now: float) -> None:
    for _ in range(times):
        request = pace.begin(now)
        pace.answered(request, now)
        pace.stalled(request, now)
        pace.end()


def test_a_host_that_begins_answers_and_ends_none_is_given_up() -> None:
    pace = HostPace(most=8, patience=300.0)
    stall(pace, SUSPECT_AFTER, 10.0)
    assert (pace.at_once, pace.held(10.0)) == (1, Held.SILENT)
    stall(pace, OPEN_AFTER - SUSPECT_AFTER, 10.0)
    assert pace.is_open(10.0)
    assert pace.refusal(10.0, retry=False) is not None
    assert pace.refusal(10.0 + PROBE_SECONDS, retry=False) is None


def test_a_whole_answer_clears_a_host_of_those_that_did_not_end() -> None:
    pace = HostPace(most=8, patience=300.0)
    pace.ended_whole(0.0)
    stall(pace, OPEN_AFTER, 1.0)
    assert not pace.is_open(1.0)
    assert pace.is_open(OPEN_SECONDS)
    pace.ended_whole(OPEN_SECONDS)
    assert not pace.is_open(OPEN_SECONDS)
