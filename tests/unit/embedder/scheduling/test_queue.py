"""Lanes: bounded by number and bytes, first in, first out, also for those that wait for room."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.queue import Lane
from embedder.scheduling.work_item import Item
from servicekit.errors import Overloaded


def lane(max_items: int = 2, max_bytes: int = 100) -> Lane:
    return Lane("bulk", max_items, max_bytes, EmbedderMetrics(CollectorRegistry()))


def item(size: int = 10) -> Item:
    return Item(bytes(size), "bulk", deadline=float("inf"))


async def test_a_lane_is_full_by_number() -> None:
    full = lane()
    full.put(item())
    full.put(item())
    with pytest.raises(Overloaded) as refused:
        full.put(item())
    assert refused.value.retry_after is not None


async def test_a_lane_is_full_by_bytes_but_takes_any_single_image() -> None:
    full = lane()
    full.put(item(1000))
    with pytest.raises(Overloaded):
        full.put(item(1))
    full.take()
    full.put(item(60))
    with pytest.raises(Overloaded):
        full.put(item(60))


async def test_those_that_wait_get_in_in_turn() -> None:
    busy = lane(max_items=1)
    first, items = item(), [item() for _ in range(5)]
    busy.put(first)
    waiting = [asyncio.create_task(busy.put_in_turn(one)) for one in items]
    await asyncio.sleep(0)
    taken = [busy.take()]
    for _ in items:
        for _ in range(3):
            await asyncio.sleep(0)
        taken.append(busy.take())
    assert taken == [first, *items]
    await asyncio.gather(*waiting)


async def test_one_that_stops_waiting_does_not_keep_its_turn() -> None:
    busy = lane(max_items=1)
    busy.put(item())
    leaver = asyncio.create_task(busy.put_in_turn(item()))
    await asyncio.sleep(0)
    stayer_item = item()
    stayer = asyncio.create_task(busy.put_in_turn(stayer_item))
    await asyncio.sleep(0)
    busy.take()
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    await asyncio.wait_for(stayer, 20)
    assert busy.take() is stayer_item


async def test_a_dropped_item_makes_room() -> None:
    busy = lane(max_items=1)
    gone = item()
    busy.put(gone)
    busy.drop(gone)
    busy.put(item())
    assert len(busy) == 1
    busy.drop(gone)
    assert len(busy) == 1


async def test_an_image_that_has_been_taken_is_dropped_without_being_written_down() -> None:
    class Unwritten(bytes):
        def __repr__(self) -> str:
            raise AssertionError("an image is not for reading")

    found, other = lane(), item()
    taken = Item(Unwritten(10), "bulk", deadline=float("inf"))
    for each in (taken, other):
        found.put(each)
    assert found.take() is taken
    found.drop(taken)
    assert "Unwritten" not in repr(taken)
    assert found.first() is other
    assert len(found) == 1
