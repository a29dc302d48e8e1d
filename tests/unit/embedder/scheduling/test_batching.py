"""Batches for an engine that the test plays."""

import asyncio

from prometheus_client import CollectorRegistry

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.batching import BatchedInference
from embedder.workers.messages import FLOAT_BYTES, WorkResult
from tests.unit.embedder.workers.played_workers import TIMEOUT_SECONDS, PlayedWorker, played_pool, played_worker

MAX_BATCH = 3
HOURS = 3600.0


class Scene:
    """Batches of MAX_BATCH images, which never become too old, and vectors of one number."""

    def __init__(self) -> None:
        metrics = EmbedderMetrics(CollectorRegistry())
        self.pool = played_pool(metrics)
        self.inference = BatchedInference(self.pool, 10, MAX_BATCH, HOURS, 1, metrics)

    def infer(self, *, urgent: bool = False) -> "asyncio.Task[WorkResult]":
        """Start the inference of one decoded image."""
        slots = self.inference.reserve(1)
        assert slots is not None
        return asyncio.create_task(self._infer(slots, urgent))

    async def _infer(self, slots: list[int], urgent: bool) -> WorkResult:
        try:
            return await self.inference.infer(WorkResult(slots[0]), slots, urgent=urgent)
        finally:
            self.inference.release(slots)


def vector(number: int) -> bytes:
    return number.to_bytes(FLOAT_BYTES, "little")


async def answer_with_slots(engine: PlayedWorker) -> list[int]:
    """Answer the next batch, where the vector of each slot is its number, and return the slots."""
    request = await engine.request()
    engine.answer(request, b"".join(map(vector, request.slots)))
    return request.slots


async def test_a_failed_batch_fails_only_the_image_at_fault() -> None:
    scene = Scene()
    async with played_worker(scene.pool) as engine:
        images = [scene.infer() for _ in range(MAX_BATCH)]
        batch = await engine.request()
        assert batch.slots == [0, 1, 2]
        engine.fail(batch)
        for slot in range(MAX_BATCH):
            retry = await engine.request()
            assert retry.slots == [slot]
            if slot == 1:
                engine.fail(retry)
            else:
                engine.answer(retry, vector(slot))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            results = await asyncio.gather(*images)
    assert [result.code for result in results] == [None, "embedding_failed", None]
    assert [result.vectors for result in results] == [vector(0), b"", vector(2)]


async def test_the_batch_of_an_engine_that_exits_goes_to_the_next_one() -> None:
    scene = Scene()
    images = [scene.infer() for _ in range(MAX_BATCH)]
    async with played_worker(scene.pool) as first:
        await first.request()
        await first.exit()
        async with played_worker(scene.pool) as second:
            assert [await answer_with_slots(second) for _ in range(MAX_BATCH)] == [[0], [1], [2]]
            async with asyncio.timeout(TIMEOUT_SECONDS):
                assert all(result.code is None for result in await asyncio.gather(*images))


async def test_a_search_does_not_wait_for_a_full_batch() -> None:
    scene = Scene()
    async with played_worker(scene.pool) as engine:
        # As long as this image is being decoded, bulk images wait for it.
        scene.inference.reserve(1)
        bulk = scene.infer()
        search = scene.infer(urgent=True)
        # The search comes first in its batch, and the waiting image fills it.
        assert await answer_with_slots(engine) == [2, 1]
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert (await search).vectors == vector(2)
            assert (await bulk).vectors == vector(1)
