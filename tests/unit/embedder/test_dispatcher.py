"""Who gets which worker, with real connections whose other ends the test plays."""

import asyncio

from prometheus_client import CollectorRegistry

from similis.embedder.dispatcher import Dispatcher
from similis.embedder.forwarding import InPlace
from similis.embedder.item import Item, LaneName, Outcome
from similis.embedder.lane import Lane
from similis.embedder.metrics import EmbedderMetrics
from tests.unit.embedder.played_workers import SECONDS, played_pool, played_worker, settled


class Place:
    """A dispatcher in front of workers that are played."""

    def __init__(self) -> None:
        metrics = EmbedderMetrics(CollectorRegistry())
        self.pool = played_pool(metrics)
        lanes = (Lane("interactive", 10, 1000, metrics), Lane("bulk", 10, 1000, metrics))
        self.dispatcher = Dispatcher(self.pool, InPlace(metrics), *lanes, 1, metrics)

    def embedding(self, image: bytes, lane: LaneName = "bulk") -> "asyncio.Task[Outcome]":
        """An image on its way."""
        return asyncio.create_task(self.dispatcher.embed(Item(image, lane, asyncio.get_running_loop().time() + 60)))


async def test_two_images_that_may_have_killed_a_worker_are_each_alone_with_the_next_one() -> None:
    place = Place()
    async with played_worker(place.pool) as first:
        suspects = [place.embedding(b"a"), place.embedding(b"b")]
        await first.job()
        await first.job()
        first.die()
        while first.worker.alive:  # noqa: ASYNC110 - the connection's end is seen by another task
            await asyncio.sleep(0)
        others = [place.embedding(b"c"), place.embedding(b"d")]
        async with played_worker(place.pool) as second:
            for image in (b"a", b"b"):
                job, given = await second.job()
                assert given == image
                await settled()
                assert (second.worker.outstanding, second.worker.holds_suspect) == (1, True)
                second.answer(job)
            for image in (b"c", b"d"):
                job, given = await second.job()
                assert given == image
                second.answer(job)
            async with asyncio.timeout(SECONDS):
                outcomes = await asyncio.gather(*suspects, *others)
            assert [outcome.code for outcome in outcomes] == [None] * 4


async def test_searches_have_a_worker_that_bulk_images_do_not_get() -> None:
    place = Place()
    async with played_worker(place.pool, reserved=True) as reserved, played_worker(place.pool) as other:
        bulk = [place.embedding(bytes([number])) for number in range(4)]
        await settled()
        assert (reserved.worker.outstanding, other.worker.outstanding) == (0, 2)
        search = place.embedding(b"search", "interactive")
        job, image = await reserved.job()
        # What steps back slows nobody, so the search has all cores.
        assert (image, job["urgent"], job["wide"]) == (b"search", True, True)
        second = place.embedding(b"second", "interactive")
        await settled()
        assert (reserved.worker.urgent, other.worker.urgent) == (2, 0)
        reserved.answer(job)
        job, _ = await reserved.job()
        assert not job["wide"]
        reserved.answer(job)
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(search, second)
        for task in bulk:
            task.cancel()
        await asyncio.gather(*bulk, return_exceptions=True)


async def test_an_image_whose_caller_left_is_not_given_out() -> None:
    place = Place()
    gone, stays = place.embedding(b"gone"), place.embedding(b"stays")
    await settled()
    gone.cancel()
    await settled()
    async with played_worker(place.pool) as worker:
        job, image = await worker.job()
        assert image == b"stays"
        worker.answer(job)
        async with asyncio.timeout(SECONDS):
            assert (await stays).code is None


async def test_bulk_images_go_one_by_one_to_the_worker_of_searches_while_no_other_lives() -> None:
    place = Place()
    async with played_worker(place.pool, reserved=True) as reserved:
        bulk = [place.embedding(bytes([number])) for number in range(3)]
        job, _ = await reserved.job()
        await settled()
        assert reserved.worker.outstanding == 1
        reserved.answer(job)
        job, _ = await reserved.job()
        async with played_worker(place.pool) as other:
            found, image = await other.job()
            assert image == bytes([2])
            reserved.answer(job)
            other.answer(found)
            async with asyncio.timeout(SECONDS):
                assert [outcome.code for outcome in await asyncio.gather(*bulk)] == [None] * 3
