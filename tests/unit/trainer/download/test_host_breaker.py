"""Hosts in trouble: paused when they ask for it, asked one thing at a time, given up, and found again."""

import asyncio

import pytest
from yarl import URL

from trainer.download import host_breaker as hosts_module
from trainer.download.failures import ImageFailed, Reason
from trainer.download.host_breaker import GIVEN_UP_AFTER, SUSPECT_AFTER, Hosts

URL_A = URL("http://a.example/1.jpg")
URL_B = URL("http://b.example/1.jpg")


async def silent(hosts: Hosts, url: URL, attempts: int) -> None:
    for _ in range(attempts):
        hosts.found_silent(url)


async def asked_at_once(hosts: Hosts, url: URL, number: int) -> int:
    """How many of several who want a turn at a host have theirs at a time, at most."""
    inside, most = 0, 0

    async def one() -> None:
        nonlocal inside, most
        async with hosts.turn(url, again=False):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.timeout(20):
        await asyncio.gather(*(one() for _ in range(number)))
    return most


async def refused(hosts: Hosts, url: URL, *, again: bool = False) -> bool:
    try:
        async with asyncio.timeout(20), hosts.turn(url, again=again):
            return False
    except ImageFailed as failure:
        return failure.reason is Reason.HOST_UNAVAILABLE


async def test_a_host_without_trouble_is_asked_by_all_at_once() -> None:
    hosts = Hosts()
    hosts.answered(URL_A)
    assert await asked_at_once(hosts, URL_A, 5) == 5


async def test_a_suspected_host_is_asked_one_thing_at_a_time_and_other_hosts_are_not_concerned() -> None:
    hosts = Hosts()
    await silent(hosts, URL_A, SUSPECT_AFTER)
    assert await asked_at_once(hosts, URL_A, 5) == 1
    assert await asked_at_once(hosts, URL_B, 5) == 5


async def test_an_image_that_found_a_suspected_host_silent_is_not_what_it_is_asked_for_again() -> None:
    hosts = Hosts()
    await silent(hosts, URL_A, SUSPECT_AFTER)
    assert await refused(hosts, URL_A, again=True)
    assert not await refused(hosts, URL_A, again=False)


async def test_a_host_that_is_given_up_is_refused_at_once_but_for_a_probe_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def found_silent_and_due_for_a_probe() -> None:
        monkeypatch.setattr(hosts_module, "PROBE_SECONDS", 0.0)
        hosts.found_silent(URL_A)
        monkeypatch.setattr(hosts_module, "PROBE_SECONDS", 3600.0)

    monkeypatch.setattr(hosts_module, "PROBE_SECONDS", 3600.0)
    hosts = Hosts()
    await silent(hosts, URL_A, GIVEN_UP_AFTER)
    assert await refused(hosts, URL_A)
    assert not await refused(hosts, URL_B)
    await found_silent_and_due_for_a_probe()
    async with hosts.turn(URL_A, again=False):
        # While the probe is out, nobody waits for it.
        assert await refused(hosts, URL_A)
        hosts.found_silent(URL_A)
    assert await refused(hosts, URL_A)
    await found_silent_and_due_for_a_probe()
    async with hosts.turn(URL_A, again=False):
        hosts.answered(URL_A)
    assert await asked_at_once(hosts, URL_A, 5) == 5


async def test_one_answer_in_between_clears_a_host() -> None:
    hosts = Hosts()
    await silent(hosts, URL_A, GIVEN_UP_AFTER - 1)
    hosts.answered(URL_A)
    await silent(hosts, URL_A, SUSPECT_AFTER - 1)
    assert await asked_at_once(hosts, URL_A, 3) == 3


async def test_a_pause_is_for_all_images_of_the_host_and_outlives_an_answer() -> None:
    hosts = Hosts()
    now = asyncio.get_running_loop().time
    began = now()
    hosts.asked_to_wait(URL_A, 0.5)
    hosts.answered(URL_A)
    async with hosts.turn(URL_A.with_path("/another.jpg"), again=True):
        assert now() - began >= 0.5


async def test_a_pause_is_for_no_other_host() -> None:
    hosts = Hosts()
    hosts.asked_to_wait(URL_A, 60.0)
    assert not await refused(hosts, URL_B)


async def test_a_pause_has_an_end_whatever_the_host_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts_module, "LONGEST_PAUSE", 0.05)
    hosts = Hosts()
    hosts.asked_to_wait(URL_A, 1e9)
    assert not await refused(hosts, URL_A)


async def test_a_host_that_asks_to_wait_again_and_again_is_given_up() -> None:
    hosts = Hosts()
    for _ in range(GIVEN_UP_AFTER):
        assert not await refused(hosts, URL_A, again=True)
        hosts.asked_to_wait(URL_A, 0.001)
    assert await refused(hosts, URL_A)


async def test_hosts_in_trouble_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts_module, "MAX_REMEMBERED", 2)
    hosts = Hosts()
    for number in range(5):
        await silent(hosts, URL(f"http://host{number}.example/"), GIVEN_UP_AFTER)
    assert [await refused(hosts, URL(f"http://host{number}.example/")) for number in range(5)] == [
        *(False, False, False),
        *(True, True),
    ]
