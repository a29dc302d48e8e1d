"""The queue of a lane is bounded by images and bytes, and serves its callers in order."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.queue import ImageQueue
from embedder.scheduling.queued_image import QueuedImage
from servicekit.errors import Overloaded


def queue_of(max_images: int = 2, max_bytes: int = 100) -> ImageQueue:
    return ImageQueue("bulk", max_images, max_bytes, EmbedderMetrics(CollectorRegistry()))


def image_of(size: int = 10) -> QueuedImage:
    return QueuedImage(bytes(size), "bulk", deadline=float("inf"))


async def test_the_number_of_images_is_limited() -> None:
    queue = queue_of()
    queue.put(image_of())
    queue.put(image_of())
    with pytest.raises(Overloaded) as refused:
        queue.put(image_of())
    assert refused.value.retry_after is not None


async def test_the_number_of_bytes_is_limited_but_one_image_always_fits() -> None:
    queue = queue_of()
    queue.put(image_of(1000))
    with pytest.raises(Overloaded):
        queue.put(image_of(1))
    queue.take()
    queue.put(image_of(60))
    with pytest.raises(Overloaded):
        queue.put(image_of(60))


async def test_callers_that_wait_for_room_are_served_in_order() -> None:
    queue = queue_of(max_images=1)
    first, images = image_of(), [image_of() for _ in range(5)]
    queue.put(first)
    waiting = [asyncio.create_task(queue.wait_and_put(image)) for image in images]
    await asyncio.sleep(0)
    taken = [queue.take()]
    for _ in images:
        for _ in range(3):
            await asyncio.sleep(0)
        taken.append(queue.take())
    assert taken == [first, *images]
    await asyncio.gather(*waiting)


async def test_a_caller_that_leaves_as_its_turn_comes_passes_it_on() -> None:
    queue = queue_of(max_images=1)
    queue.put(image_of())
    leaver = asyncio.create_task(queue.wait_and_put(image_of()))
    await asyncio.sleep(0)
    image = image_of()
    stayer = asyncio.create_task(queue.wait_and_put(image))
    await asyncio.sleep(0)
    queue.take()
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    await asyncio.wait_for(stayer, 20)
    assert queue.take() is image


async def test_a_dropped_image_makes_room() -> None:
    queue = queue_of(max_images=1)
    image = image_of()
    queue.put(image)
    queue.drop(image)
    queue.put(image_of())
    assert len(queue) == 1
    queue.drop(image)
    assert len(queue) == 1


async def test_dropping_an_image_that_was_taken_does_not_format_it() -> None:
    class Unformattable(bytes):
        def __repr__(self) -> str:
            raise AssertionError("formatting a large image takes seconds")

    queue, other = queue_of(), image_of()
    taken = QueuedImage(Unformattable(10), "bulk", deadline=float("inf"))
    queue.put(taken)
    queue.put(other)
    assert queue.take() is taken
    queue.drop(taken)
    assert "Unformattable" not in repr(taken)
    assert queue.first() is other
    assert len(queue) == 1
