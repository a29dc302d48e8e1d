"""Turns at hosts: requests wait for their host, in order, and hosts do not affect each other."""

import asyncio

import pytest

from servicekit.download import host_turns
from servicekit.download.failures import ImageFailed, Reason
from servicekit.download.host_pace import OPEN_AFTER, Held
from servicekit.download.host_turns import HeldHost, HostTurns

HOST_A = "http://a.example:80"
HOST_B = "https://b.example:8443"


def turns() -> HostTurns:
    return HostTurns(per_host=4, patience=300.0)


async def answered(host: HostTurns, origin: str, times: int) -> None:
    for _ in range(times):
        async with host.turn(origin, retry=False) as turn:
            turn.answered()


async def most_at_once(host: HostTurns, origin: str, number: int) -> int:
    """How many of `number` simultaneous requests to a host are sent at a time."""
    inside, most = 0, 0

    async def one() -> None:
        nonlocal inside, most
        async with host.turn(origin, retry=False):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.timeout(20):
        await asyncio.gather(*(one() for _ in range(number)))
    return most


async def refused(host: HostTurns, origin: str) -> bool:
    try:
        async with asyncio.timeout(20), host.turn(origin, retry=False):
            return False
    except ImageFailed as failure:
        return failure.reason is Reason.HOST_UNAVAILABLE


async def test_a_host_gets_more_requests_at_a_time_once_it_has_answered() -> None:
    host = turns()
    assert await most_at_once(host, HOST_A, 5) == 1
    await answered(host, HOST_A, 3)
    assert await most_at_once(host, HOST_A, 9) == 4


async def test_requests_are_sent_in_the_order_in_which_they_came() -> None:
    host = turns()
    sent: list[int] = []

    async def one(number: int) -> None:
        async with host.turn(HOST_A, retry=False):
            sent.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(one(number) for number in range(6)))
    assert sent == list(range(6))


async def test_a_request_that_is_cancelled_lets_the_next_one_through() -> None:
    host = turns()
    async with host.turn(HOST_A, retry=False):
        waiting = [asyncio.create_task(most_at_once(host, HOST_A, 1)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    assert await waiting[1] == 1


async def test_a_pause_is_waited_for_and_does_not_affect_other_hosts() -> None:
    host, now = turns(), asyncio.get_running_loop().time
    async with host.turn(HOST_A, retry=False) as turn:
        turn.refused(0.3)
    began = now()
    assert not await refused(host, HOST_B)
    assert now() - began < 0.3
    assert not await refused(host, HOST_A)
    assert now() - began >= 0.29


async def test_a_host_that_was_given_up_refuses_its_images_and_no_others() -> None:
    host = turns()
    for _ in range(OPEN_AFTER):
        async with host.turn(HOST_A, retry=False) as turn:
            turn.silent()
    assert await refused(host, HOST_A)
    assert not await refused(host, HOST_B)
    assert host.held([HOST_A, HOST_B, "http://unknown.example:80"]) == [HeldHost("a.example", Held.SILENT)]


async def test_a_slow_host_is_named_and_gets_fewer_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servicekit.download.host_pace.SLOW_SECONDS", -1.0)
    host = turns()
    assert host.places(HOST_B) == 4
    await answered(host, HOST_B, 3)
    assert host.places(HOST_B) == 2
    assert host.held([HOST_B]) == [HeldHost("b.example:8443", Held.SLOW)]


async def test_hosts_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_turns, "MAX_HOSTS", 2)
    host = turns()
    async with host.turn("http://in-use:80", retry=False) as turn:
        turn.refused(None)
        for number in range(5):
            await answered(host, f"http://host{number}:80", 1)
        assert host.held(["http://in-use:80"])
        assert [host.places(f"http://host{number}:80") for number in range(5)] == [4, 4, 4, 4, 3]
