"""Clients share the memory and the places for bodies: whoever has most gives way to others, the slowest body first."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from gateway.admission.client import requests_of
from gateway.admission.reception import Reception, reception
from gateway.admission.shares import BodyMemory, ReceivingPlaces
from servicekit.errors import Overloaded
from servicekit.limits import ByteAccount


@contextmanager
def receiving(memory: BodyMemory, client: str) -> Iterator[tuple[ByteAccount, Reception]]:
    with requests_of(client), reception() as body, memory.account() as account:
        yield account, body


def given_up(body: Reception) -> bool:
    return body._error is not None


def test_a_client_that_has_less_gets_memory_from_the_one_that_has_most() -> None:
    memory = BodyMemory(100)
    with ExitStack() as stack:
        flood = [stack.enter_context(receiving(memory, "1.1.1.1")) for _ in range(4)]
        for account, _ in flood:
            account.take(25)
        modest, _ = stack.enter_context(receiving(memory, "2.2.2.2"))
        modest.take(25)
        assert [given_up(body) for _, body in flood].count(True) == 1
        modest.take(25)
        assert [given_up(body) for _, body in flood].count(True) == 2
        # Now both have the same.
        with pytest.raises(Overloaded):
            modest.take(25)
    assert memory.free == 100


def test_a_client_takes_nothing_from_itself_nor_what_has_arrived() -> None:
    memory = BodyMemory(100)
    with receiving(memory, "1.1.1.1") as (first, body), receiving(memory, "1.1.1.1") as (second, _):
        first.take(100)
        with pytest.raises(Overloaded):
            second.take(1)
        body.is_complete = True
        with receiving(memory, "2.2.2.2") as (modest, _), pytest.raises(Overloaded):
            modest.take(1)


async def test_an_upload_gets_the_place_of_a_client_that_has_several() -> None:
    places, begun, end = ReceivingPlaces(3), asyncio.Event(), asyncio.Event()
    bodies: list[Reception] = []

    async def upload(client: str) -> None:
        with requests_of(client), reception() as body:
            async with places.slot():
                bodies.append(body)
                begun.set()
                await end.wait()

    tasks = [asyncio.create_task(upload("1.1.1.1")) for _ in range(3)]
    await asyncio.sleep(0)
    with requests_of("2.2.2.2"), reception():
        async with places.slot():
            assert [given_up(body) for body in bodies].count(True) == 1
    end.set()
    await asyncio.gather(*tasks)


async def test_an_upload_is_refused_where_no_other_client_has_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.admission.shares.PLACE_SECONDS", 0.1)
    places = ReceivingPlaces(1)
    with requests_of("1.1.1.1"), reception():
        async with places.slot():
            with requests_of("2.2.2.2"), reception(), pytest.raises(Overloaded):
                async with places.slot():
                    pass


async def test_a_slow_upload_gives_its_place_to_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.admission.reception.FIRST_SECONDS", 0.0001)
    places = ReceivingPlaces(1)
    with requests_of("1.1.1.1"), reception() as slow:
        async with places.slot():
            slow._asked = 0.0
            with requests_of("1.1.1.1"), reception():
                async with places.slot():
                    assert given_up(slow)
