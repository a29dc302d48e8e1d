"""A body that comes too slowly is given up, and one that has to make room for another is, too."""

import asyncio
from unittest.mock import Mock

import pytest
from aiohttp import StreamReader

from gateway.admission.reception import Reception
from servicekit.errors import InvalidRequest, Overloaded


def stream() -> StreamReader:
    return StreamReader(Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())


async def test_a_body_is_read_to_its_end() -> None:
    body, content = Reception("1.1.1.1"), stream()
    content.feed_data(b"abc")
    content.feed_eof()
    assert await body.next_of(content, 2) == b"ab"
    assert await body.next_of(content, 2) == b"c"
    assert not body.is_complete
    assert await body.next_of(content, 2) == b""
    assert body.is_complete


async def test_a_body_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.admission.reception.WITHIN_SECONDS", 0.05)
    body, content = Reception("1.1.1.1"), stream()
    content.feed_data(b"abc")
    assert await body.next_of(content, 100) == b"abc"
    with pytest.raises(InvalidRequest) as error:
        await body.next_of(content, 100)
    assert error.value.code == "body_too_slow"


async def test_a_body_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.admission.reception.WITHIN_SECONDS", 0.1)
    body, content = Reception("1.1.1.1"), stream()

    async def read() -> None:
        while await body.next_of(content, 100):
            asyncio.get_running_loop().call_later(0.01, content.feed_data, b"x")

    content.feed_data(b"x")
    with pytest.raises(InvalidRequest):
        await asyncio.wait_for(read(), 20)


async def test_only_the_time_that_the_client_is_waited_for_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.admission.reception.WITHIN_SECONDS", 0.2)
    body, content = Reception("1.1.1.1"), stream()
    for _ in range(6):
        content.feed_data(b"x")
        assert await body.next_of(content, 100) == b"x"
        await asyncio.sleep(0.05)


async def test_a_body_can_be_given_up_while_it_is_waited_for_and_before() -> None:
    body, content = Reception("1.1.1.1"), stream()
    asyncio.get_running_loop().call_soon(body.give_up, Overloaded("make room"))
    for _ in range(2):
        with pytest.raises(Overloaded, match="make room"):
            await body.next_of(content, 100)
