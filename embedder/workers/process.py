"""A worker as the serving process sees it."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from embedder.workers.wire import Job, Ready, Result, WorkerOrders, header
from servicekit.process.child_process import ChildGone, ChildProcess
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

MODULE = "embedder.workers"
EXIT_SECONDS = 2.0


class WorkerGone(Exception):
    """The worker ended before it answered."""


class WorkerUnfit(Exception):
    """A worker that started and cannot work; the message says why."""


@dataclass
class _Given:
    answer: asyncio.Future[tuple[Result, bytes]]
    urgent: bool
    images: int
    alone: bool


class WorkerProcess:
    """A started worker. `on_change` is called whenever it answered a job or ended."""

    def __init__(self, child: ChildProcess, ready: Ready) -> None:
        self.ready = ready
        self.answered = 0
        self.memory_bytes = 0
        self.retiring = False
        self.alive = True
        # For interactive images only.
        self.reserved = False
        self.progressed_at = time.monotonic()
        self.on_change: Callable[[WorkerProcess], None] = lambda _: None
        self._child = child
        self._given: dict[int, _Given] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, orders: WorkerOrders, environment: dict[str, str], seconds: float, arena: int = -1
    ) -> "WorkerProcess":
        """A worker that has embedded the canary. `arena` is the descriptor of the shared memory, if it needs any.

        Raises WorkerUnfit when it says that it cannot work, WorkerGone when it ended or took longer than `seconds`.
        """
        child = await ChildProcess.start(
            MODULE, str(arena), pass_fds=(arena,) if arena >= 0 else (), environment=environment
        )
        try:
            ready = await _greeted(child, orders, seconds)
        except BaseException:
            await child.end(EXIT_SECONDS)
            raise
        return cls(child, ready)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def outstanding(self) -> int:
        """Jobs that it has and has not answered."""
        return len(self._given)

    @property
    def images(self) -> int:
        """Images and views in those jobs."""
        return sum(given.images for given in self._given.values())

    @property
    def urgent(self) -> int:
        """Urgent ones among them."""
        return sum(given.urgent for given in self._given.values())

    @property
    def holds_suspect(self) -> bool:
        """Whether it has a job that is to be alone with it."""
        return any(given.alone for given in self._given.values())

    def give(self, job: Job, image: bytes, *, alone: bool = False) -> asyncio.Future[tuple[Result, bytes]]:
        """Hands over a job. The future raises WorkerGone when the worker ends before it answers.

        alone: it may end the worker, which should have nothing else meanwhile.
        """
        if not self._given:
            self.progressed_at = time.monotonic()
        answer: asyncio.Future[tuple[Result, bytes]] = asyncio.get_running_loop().create_future()
        self._given[job.id] = _Given(answer, job.urgent, max(1 + job.views, len(job.slots)), alone)
        if self.alive:
            self._child.send(header(job), image)
        return answer

    async def answered_all(self) -> None:
        """Returns when it has no job left, or is gone."""
        while self._given:
            await asyncio.wait([given.answer for given in self._given.values()])
            await asyncio.sleep(0)

    def kill(self) -> None:
        """Ends it at once."""
        self._child.kill()

    async def stop(self) -> None:
        """Lets it finish what it does, and waits for its end. What it was given and has not answered is lost."""
        self.retiring = True
        await self._child.end(EXIT_SECONDS)
        await self._reading

    async def _read(self) -> None:
        try:
            while True:
                result, vectors = await self._child.receive()
                self._answer(Result(**json.loads(result)), vectors)
        except ChildGone:
            pass
        self.alive = False
        given, self._given = self._given, {}
        for waiting in given.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(WorkerGone("the worker ended"))
        self.on_change(self)

    def _answer(self, result: Result, vectors: bytes) -> None:
        self.progressed_at = time.monotonic()
        self.answered += 1
        self.memory_bytes = result.memory_bytes
        given = self._given.pop(result.id)
        if not given.answer.done():
            given.answer.set_result((result, vectors))
        self.on_change(self)


async def _greeted(child: ChildProcess, orders: WorkerOrders, seconds: float) -> Ready:
    """Send a worker its orders and return its first answer."""
    child.send(header(orders))
    try:
        async with asyncio.timeout(seconds):
            answer, _ = await child.receive()
    except (TimeoutError, ChildGone):
        raise WorkerGone("a worker did not start") from None
    ready = Ready(**json.loads(answer))
    if ready.failure:
        raise WorkerUnfit(ready.failure)
    return ready
