"""A worker as the serving process sees it."""

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from embedder.workers.wire import LENGTHS, Job, Ready, Result, WorkerOrders, encode
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

MODULE = "embedder.workers"
SOCKET_BYTES = 1 << 20
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

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ready: Ready,
    ) -> None:
        self.ready = ready
        self.answered = 0
        self.memory_bytes = 0
        self.retiring = False
        self.alive = True
        # For interactive images only.
        self.reserved = False
        self.progressed_at = time.monotonic()
        self.on_change: Callable[[WorkerProcess], None] = lambda _: None
        self._process = process
        self._reader = reader
        self._writer = writer
        self._given: dict[int, _Given] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, orders: WorkerOrders, environment: dict[str, str], seconds: float, arena: int = -1
    ) -> "WorkerProcess":
        """A worker that has embedded the canary. `arena` is the descriptor of the shared memory, if it needs any.

        Raises WorkerUnfit when it says that it cannot work, WorkerGone when it ended or took longer than `seconds`.
        """
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", MODULE, str(theirs.fileno()), str(os.getpid()), str(arena)),
                pass_fds=(theirs.fileno(), *((arena,) if arena >= 0 else ())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                env=environment,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            writer.write(encode(orders))
            async with asyncio.timeout(seconds):
                header, _ = await _frame(reader)
            ready = Ready(**json.loads(header))
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            raise WorkerGone("a worker did not start") from None
        else:
            if ready.failure:
                raise WorkerUnfit(ready.failure)
            return cls(process, reader, writer, ready)
        finally:
            if sys.exception() is not None:
                writer.close()
                await _end(process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

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
            self._writer.write(encode(job, len(image)))
            self._writer.write(image)
        return answer

    async def answered_all(self) -> None:
        """Returns when it has no job left, or is gone."""
        while self._given:
            await asyncio.wait([given.answer for given in self._given.values()])
            await asyncio.sleep(0)

    def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self) -> None:
        """Lets it finish what it does, and waits for its end. What it was given and has not answered is lost."""
        self.retiring = True
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        await _end(self._process)
        await self._reading

    async def _read(self) -> None:
        try:
            while True:
                header, vectors = await _frame(self._reader)
                self._answer(Result(**json.loads(header)), vectors)
        except (asyncio.IncompleteReadError, ConnectionError):
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


async def _frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    header, body = LENGTHS.unpack(await reader.readexactly(LENGTHS.size))
    return await reader.readexactly(header), await reader.readexactly(body) if body else b""


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(EXIT_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
