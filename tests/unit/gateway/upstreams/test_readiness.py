"""Readiness tells which part fails, whatever way it fails in."""

import asyncio

import pytest

from gateway.upstreams import readiness
from gateway.upstreams.readiness import Readiness
from servicekit.errors import Unavailable


async def fine() -> None:
    """A part that answers."""


async def down() -> None:
    raise Unavailable("It is down.")


async def odd() -> None:
    raise RuntimeError("password=secret")


async def hangs() -> None:
    await asyncio.Event().wait()


async def test_every_part_says_how_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "CHECK_SECONDS", 0.05)
    parts = await Readiness(lambda: None, {"a": fine, "b": down, "c": odd, "d": hangs}).parts()
    assert parts == {"a": "ok", "b": "It is down.", "c": "answers wrongly", "d": "does not answer"}


async def test_many_who_ask_at_once_cost_one_check() -> None:
    asked = 0

    async def counted() -> None:
        nonlocal asked
        asked += 1

    checked = Readiness(lambda: None, {"a": counted})
    await asyncio.gather(*(checked.parts() for _ in range(50)))
    assert asked == 1


async def test_a_gateway_serves_without_its_parts_and_not_once_it_ends() -> None:
    ending = False

    def ourselves() -> None:
        if ending:
            raise Unavailable("It is about to end.")

    checked = Readiness(ourselves, {"a": down})
    assert checked.serves()
    ending = True
    assert not checked.serves()
