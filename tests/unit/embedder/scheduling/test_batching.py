"""Batches in front of an engine that the test plays."""

import asyncio

from prometheus_client import CollectorRegistry

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.batching import Batching
from embedder.scheduling.stage import Answer
from embedder.workers.wire import Result
from tests.unit.embedder.workers.played_workers import SECONDS, Played, played_pool, played_worker

FLOAT = 4
BATCH = 3
HOURS = 3600.0


class Place:
    """Batches of BATCH images with vectors of one number. They never get old."""

    def __init__(self) -> None:
        metrics = EmbedderMetrics(CollectorRegistry())
        self.pool = played_pool(metrics)
        self.batching = Batching(self.pool, 10, BATCH, HOURS, 1, metrics)

    def image(self, *, urgent: bool = False) -> "asyncio.Task[Answer]":
        """A decoded image on its way."""
        slots = self.batching.reserve(1)
        assert slots is not None
        return asyncio.create_task(self._vectors(slots, urgent))

    async def _vectors(self, slots: list[int], urgent: bool) -> Answer:
        try:
            return await self.batching.vectors(slots, (Result(slots[0]), b""), urgent=urgent)
        finally:
            self.batching.release(slots)


async def answered_by_slot(engine: Played) -> list[int]:
    """The slots of the next batch, each answered with its own number."""
    job, _ = await engine.job()
    engine.answer(job, b"".join(slot.to_bytes(FLOAT, "little") for slot in job["slots"]))
    return list(job["slots"])


async def test_a_failed_batch_is_tried_again_image_by_image_and_costs_the_one_that_breaks_it() -> None:
    place = Place()
    async with played_worker(place.pool) as engine:
        images = [place.image() for _ in range(BATCH)]
        job, _ = await engine.job()
        assert job["slots"] == [0, 1, 2]
        engine.fail(job)
        for slot in range(BATCH):
            job, _ = await engine.job()
            assert job["slots"] == [slot]
            if slot == 1:
                engine.fail(job)
            else:
                engine.answer(job, slot.to_bytes(FLOAT, "little"))
        async with asyncio.timeout(SECONDS):
            outcomes = await asyncio.gather(*images)
    assert [result.code for result, _ in outcomes] == [None, "embedding_failed", None]
    assert [vectors for _, vectors in outcomes] == [bytes(4), b"", (2).to_bytes(FLOAT, "little")]


async def test_an_engine_that_ends_with_a_batch_is_followed_by_one_that_has_its_images() -> None:
    place = Place()
    images = [place.image() for _ in range(BATCH)]
    async with played_worker(place.pool) as first:
        await first.job()
        first.die()
        while first.worker.alive:  # noqa: ASYNC110 - the connection's end is seen by another task
            await asyncio.sleep(0)
        async with played_worker(place.pool) as second:
            assert [await answered_by_slot(second) for _ in range(BATCH)] == [[0], [1], [2]]
            async with asyncio.timeout(SECONDS):
                assert all(result.code is None for result, _ in await asyncio.gather(*images))


async def test_an_urgent_image_does_not_wait_for_a_full_batch() -> None:
    place = Place()
    async with played_worker(place.pool) as engine:
        # One more is being decoded, so that there is something to wait for.
        place.batching.reserve(1)
        bulk = place.image()
        urgent = place.image(urgent=True)
        # It goes first, and what waits goes with it.
        assert await answered_by_slot(engine) == [2, 1]
        async with asyncio.timeout(SECONDS):
            assert int.from_bytes((await urgent)[1], "little") == 2
            assert int.from_bytes((await bulk)[1], "little") == 1
