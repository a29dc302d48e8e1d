"""Circuit breakers of hosts: a pause on request, one request at a time on suspicion, then open, then closed again."""

import asyncio

import pytest
from yarl import URL

from trainer.download import host_breaker
from trainer.download.failures import ImageFailed, Reason
from trainer.download.host_breaker import OPEN_AFTER, SUSPECT_AFTER, HostBreakers

URL_A = URL("http://a.example/1.jpg")
URL_B = URL("http://b.example/1.jpg")


def fail(breakers: HostBreakers, url: URL, times: int) -> None:
    for _ in range(times):
        breakers.silent(url)


async def most_at_once(breakers: HostBreakers, url: URL, number: int) -> int:
    """How many of `number` simultaneous requests to a host are admitted at a time."""
    inside, most = 0, 0

    async def one() -> None:
        nonlocal inside, most
        async with breakers.admit(url, retry=False):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.timeout(20):
        await asyncio.gather(*(one() for _ in range(number)))
    return most


async def refused(breakers: HostBreakers, url: URL, *, retry: bool = False) -> bool:
    try:
        async with asyncio.timeout(20), breakers.admit(url, retry=retry):
            return False
    except ImageFailed as failure:
        return failure.reason is Reason.HOST_UNAVAILABLE


async def test_a_healthy_host_gets_all_requests_at_once() -> None:
    breakers = HostBreakers()
    breakers.answered(URL_A)
    assert await most_at_once(breakers, URL_A, 5) == 5


async def test_a_suspected_host_gets_one_request_at_a_time_and_other_hosts_are_unaffected() -> None:
    breakers = HostBreakers()
    fail(breakers, URL_A, SUSPECT_AFTER)
    assert await most_at_once(breakers, URL_A, 5) == 1
    assert await most_at_once(breakers, URL_B, 5) == 5


async def test_an_image_is_not_retried_on_a_suspected_host() -> None:
    breakers = HostBreakers()
    fail(breakers, URL_A, SUSPECT_AFTER)
    assert await refused(breakers, URL_A, retry=True)
    assert not await refused(breakers, URL_A, retry=False)


async def test_an_open_breaker_refuses_all_but_one_probe_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_and_allow_a_probe() -> None:
        monkeypatch.setattr(host_breaker, "PROBE_SECONDS", 0.0)
        breakers.silent(URL_A)
        monkeypatch.setattr(host_breaker, "PROBE_SECONDS", 3600.0)

    monkeypatch.setattr(host_breaker, "PROBE_SECONDS", 3600.0)
    breakers = HostBreakers()
    fail(breakers, URL_A, OPEN_AFTER)
    assert await refused(breakers, URL_A)
    assert not await refused(breakers, URL_B)
    fail_and_allow_a_probe()
    async with breakers.admit(URL_A, retry=False):
        assert await refused(breakers, URL_A), "nobody waits for the probe"
        breakers.silent(URL_A)
    assert await refused(breakers, URL_A)
    fail_and_allow_a_probe()
    async with breakers.admit(URL_A, retry=False):
        breakers.answered(URL_A)
    assert await most_at_once(breakers, URL_A, 5) == 5


async def test_one_answer_resets_the_count_of_failures() -> None:
    breakers = HostBreakers()
    fail(breakers, URL_A, OPEN_AFTER - 1)
    breakers.answered(URL_A)
    fail(breakers, URL_A, SUSPECT_AFTER - 1)
    assert await most_at_once(breakers, URL_A, 3) == 3


async def test_a_pause_holds_for_all_images_of_the_host_and_outlasts_an_answer() -> None:
    breakers = HostBreakers()
    now = asyncio.get_running_loop().time
    began = now()
    breakers.asked_to_wait(URL_A, 0.5)
    breakers.answered(URL_A)
    async with breakers.admit(URL_A.with_path("/another.jpg"), retry=True):
        assert now() - began >= 0.5


async def test_a_pause_does_not_affect_other_hosts() -> None:
    breakers = HostBreakers()
    breakers.asked_to_wait(URL_A, 60.0)
    assert not await refused(breakers, URL_B)


async def test_a_pause_is_limited_whatever_the_host_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_breaker, "LONGEST_PAUSE", 0.05)
    breakers = HostBreakers()
    breakers.asked_to_wait(URL_A, 1e9)
    assert not await refused(breakers, URL_A)


async def test_a_host_that_keeps_asking_for_pauses_opens_its_breaker() -> None:
    breakers = HostBreakers()
    for _ in range(OPEN_AFTER):
        assert not await refused(breakers, URL_A, retry=True)
        breakers.asked_to_wait(URL_A, 0.001)
    assert await refused(breakers, URL_A)


async def test_breakers_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_breaker, "MAX_BREAKERS", 2)
    breakers = HostBreakers()
    urls = [URL(f"http://host{number}.example/") for number in range(5)]
    for url in urls:
        fail(breakers, url, OPEN_AFTER)
    assert [await refused(breakers, url) for url in urls] == [False, False, False, True, True]
