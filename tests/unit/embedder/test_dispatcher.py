"""Who gets which worker, with real connections whose other ends the test plays."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from similis.embedder.dispatcher import Dispatcher
from similis.embedder.forwarding import InPlace
from similis.embedder.item import Item, LaneName, Outcome
from similis.embedder.lane import Lane
from similis.embedder.metrics import EmbedderMetrics
from similis.embedder.workers.pool import PoolLimits, WorkerPool
from similis.embedder.workers.process import WorkerProcess
from similis.embedder.workers.wire import LENGTHS, Ready, Result, WorkerOrders, encode

ORDERS = WorkerOrders("fused", {}, "", "", 1, 1, 1, 1, "none", "cpu", 1)
LIMITS = PoolLimits(workers=1, start_seconds=1, silence_seconds=5, images=100, memory_bytes=1 << 30)
SECONDS = 5.0


class Played:
    """A worker that answers when the test says so."""

    def __init__(self, worker: WorkerProcess, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.worker = worker
        self._reader = reader
        self._writer = writer

    async def job(self) -> tuple[dict[str, Any], bytes]:
        """The next job and its image."""
        async with asyncio.timeout(SECONDS):
            header, body = LENGTHS.unpack(await self._reader.readexactly(LENGTHS.size))
            return json.loads(await self._reader.readexactly(header)), await self._reader.readexactly(body)

    def answer(self, job: dict[str, Any]) -> None:
        """Answers a job with one vector of one number."""
        self._writer.write(encode(Result(job["id"]), 4) + bytes(4))

    def die(self) -> None:
        """Ends before it answers."""
        self._writer.close()


class Place:
    """A dispatcher in front of workers that are played."""

    def __init__(self) -> None:
        metrics = EmbedderMetrics(CollectorRegistry())
        self.pool = WorkerPool(ORDERS, {}, LIMITS, metrics)
        lanes = (Lane("interactive", 10, 1000, metrics), Lane("bulk", 10, 1000, metrics))
        self.dispatcher = Dispatcher(self.pool, InPlace(metrics), *lanes, 1, metrics)

    def embedding(self, image: bytes, lane: LaneName = "bulk") -> "asyncio.Task[Outcome]":
        """An image on its way."""
        return asyncio.create_task(self.dispatcher.embed(Item(image, lane, asyncio.get_running_loop().time() + 60)))

    @asynccontextmanager
    async def worker(self, *, reserved: bool = False) -> AsyncIterator[Played]:
        """A worker of the pool while entered."""
        ours, theirs = socket.socketpair()
        process = await asyncio.create_subprocess_exec("sleep", "60")
        worker = WorkerProcess(process, *await asyncio.open_connection(sock=ours), Ready("cpu", "none"))
        worker.reserved = reserved
        worker.on_change = lambda _: self.pool.on_change()
        self.pool.workers.append(worker)
        self.pool.on_change()
        played = Played(worker, *await asyncio.open_connection(sock=theirs))
        try:
            yield played
        finally:
            played.die()
            self.pool.workers.remove(worker)
            worker.kill()
            await worker.stop()


async def test_two_images_that_may_have_killed_a_worker_are_each_alone_with_the_next_one() -> None:
    place = Place()
    async with place.worker() as first:
        suspects = [place.embedding(b"a"), place.embedding(b"b")]
        await first.job()
        await first.job()
        first.die()
        while first.worker.alive:  # noqa: ASYNC110 - the connection's end is seen by another task
            await asyncio.sleep(0)
        others = [place.embedding(b"c"), place.embedding(b"d")]
        async with place.worker() as second:
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
    async with place.worker(reserved=True) as reserved, place.worker() as other:
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
    async with place.worker() as worker:
        job, image = await worker.job()
        assert image == b"stays"
        worker.answer(job)
        async with asyncio.timeout(SECONDS):
            assert (await stays).code is None


async def settled() -> None:
    """Returns when all that could go on without the other side has."""
    for _ in range(20):
        await asyncio.sleep(0)
