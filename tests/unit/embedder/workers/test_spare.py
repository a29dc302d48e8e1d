"""A spare worker waits while workers die, and takes no memory otherwise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from embedder.metrics import EmbedderMetrics
from embedder.workers import process
from embedder.workers import spare as module
from embedder.workers.process import WorkerProcess
from embedder.workers.spare import SpareWorker
from tests.eventually import eventually
from tests.unit.embedder.workers.played_workers import played_pool, played_worker


@pytest.fixture(autouse=True)
def _short_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill played workers soon, because they do not exit by themselves."""
    monkeypatch.setattr(process, "EXIT_SECONDS", 0.05)


class Starts:
    """Starts played workers, and stops them at the end."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._pool = played_pool(EmbedderMetrics(CollectorRegistry()))
        self._stack = stack
        self.started: list[WorkerProcess] = []

    async def __call__(self) -> WorkerProcess:
        """Start a worker."""
        self.started.append((await self._stack.enter_async_context(played_worker(self._pool))).worker)
        return self.started[-1]

    async def reach(self, count: int) -> None:
        """Wait until so many workers have been started."""
        await eventually(lambda: len(self.started) >= count)


@asynccontextmanager
async def kept() -> AsyncIterator[tuple[SpareWorker, Starts]]:
    async with AsyncExitStack() as stack:
        starts = Starts(stack)
        spare = SpareWorker(starts)
        task = asyncio.create_task(spare.keep())
        try:
            yield spare, starts
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("reason", ["age", "memory"])
async def test_there_is_no_spare_while_no_worker_dies(reason: str) -> None:
    async with kept() as (spare, starts):
        spare.wanted_after(reason)
        await asyncio.sleep(0.05)
        assert spare.take() is None
        assert starts.started == []


@pytest.mark.parametrize("reason", ["died", "slow"])
async def test_a_spare_waits_after_a_worker_has_died_and_is_followed_by_another(reason: str) -> None:
    async with kept() as (spare, starts):
        spare.wanted_after(reason)
        await starts.reach(1)
        await asyncio.sleep(0)
        assert spare.take() is starts.started[0]
        await starts.reach(2)


async def test_a_spare_that_has_died_is_not_used() -> None:
    async with kept() as (spare, starts):
        spare.wanted_after("died")
        await starts.reach(1)
        await asyncio.sleep(0)
        starts.started[0].alive = False
        assert spare.take() is None
        await starts.reach(2)


async def test_a_spare_is_stopped_when_no_worker_has_died_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_SECONDS", 0.05)
    async with kept() as (spare, starts):
        spare.wanted_after("died")
        await starts.reach(1)
        await eventually(lambda: starts.started[0].retiring)
        assert spare.take() is None
