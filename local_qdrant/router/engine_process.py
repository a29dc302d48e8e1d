"""The router's side of an engine process: starts it, queues requests for it, and notices when it dies."""

import asyncio
import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Self

from local_qdrant.options import Options
from local_qdrant.protocol.status import Code, StatusError, exhausted, unavailable
from local_qdrant.protocol.wire import CLIENT_OPERATIONS, Operation, Reply, Request, decode_reply, encode_request
from local_qdrant.router.engine_progress import EngineProgress
from servicekit.process.child_process import ChildGone, ChildProcess
from servicekit.process.silence import Patience, Silence, Watch
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Role:
    """What an engine process is for: its name in logs, how many collections it keeps open, its niceness."""

    name: str
    open_collections: int
    nice: int


@dataclass(eq=False)
class _Waiting:
    request: Request
    outcome: asyncio.Future[Reply]


class EngineProcess:
    """A running engine process. It runs one request at a time, in the order of `submit`."""

    def __init__(self, role: Role, options: Options, child: ChildProcess) -> None:
        self.role = role
        # The request that the process works on, or that it died on.
        self.current: Request | None = None
        self._options = options
        self._child = child
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._waiting_bytes = 0
        self._tickets = 0
        self._wake = asyncio.Event()
        self._alive = True
        self._stopping = False
        self._worker = asyncio.create_task(self._work())
        self._watcher = asyncio.create_task(self._watch())
        self._progress = asyncio.create_task(self._watch_progress())

    @classmethod
    async def start(cls, role: Role, options: Options) -> Self:
        """Start a process. Raises OSError when the machine cannot run another one."""
        child = await ChildProcess.start(
            "local_qdrant.engine.loop",
            *("--data", str(options.data)),
            *("--open", str(role.open_collections), "--nice", str(role.nice)),
            *("--indexing-threads", str(options.indexing_threads)),
            new_session=True,
        )
        log.info("engine_started", role=role.name, pid=child.pid)
        return cls(role, options, child)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return self._alive

    def submit(self, operation: Operation, collection: str, payload: bytes = b"") -> "asyncio.Future[Reply]":
        """Append a request to the queue and return its future, which has a reply with code OK or a `StatusError`.

        A request whose future is cancelled while it waits is never sent. Raises `StatusError` at once: UNAVAILABLE when
        the process is gone, RESOURCE_EXHAUSTED when the queue is full (client operations only).
        """
        if not self._alive:
            raise _gone(collection)
        full = len(self._waiting) >= self._options.queue_length
        if operation in CLIENT_OPERATIONS and (full or self._waiting_bytes + len(payload) > self._options.queue_bytes):
            raise exhausted(f"Too many requests wait for collection `{collection}`; try again later")
        return self._enqueue(Request(operation, collection, payload))

    def kill(self) -> None:
        """Kill the process. Everything that it acknowledged is in its write-ahead log."""
        self._stopping = True
        self._end()

    async def ended(self) -> None:
        """Wait until the process is gone and its files are free."""
        await asyncio.shield(self._watcher)

    async def stop(self) -> None:
        """Let the process finish its queue, flush and end. Kill it when that takes too long."""
        self._stopping = True
        if not self._alive:
            # A dead process does not respond.
            await self.ended()
            return
        with contextlib.suppress(StatusError, TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                last = self._enqueue(Request(Operation.CLOSE, ""))
                self._alive = False
                await last
                self._child.hang_up()
                await self.ended()
        if not self._watcher.done():
            self.kill()
            await self.ended()

    def _enqueue(self, request: Request) -> "asyncio.Future[Reply]":
        outcome: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._tickets += 1
        ticket = self._tickets
        self._waiting[ticket] = _Waiting(request, outcome)
        self._waiting_bytes += len(request.payload)
        outcome.add_done_callback(lambda _: self._dequeue(ticket))
        self._wake.set()
        return outcome

    def _dequeue(self, ticket: int) -> None:
        entry = self._waiting.pop(ticket, None)
        if entry is not None:
            self._waiting_bytes -= len(entry.request.payload)

    def _end(self) -> None:
        self._alive = False
        self._child.kill()

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            ticket, entry = next(iter(self._waiting.items()))
            self._dequeue(ticket)
            if entry.outcome.cancelled():
                continue
            self.current = entry.request
            try:
                reply = await self._exchange(entry.request)
            except (ChildGone, ValueError):
                self._fail(entry)
                self._end()
                return
            self.current = None
            self._resolve(entry, reply)

    async def _exchange(self, request: Request) -> Reply:
        self._child.send(encode_request(request), request.payload)
        await self._child.drain()
        return decode_reply(*await self._child.receive())

    def _resolve(self, entry: _Waiting, reply: Reply) -> None:
        if reply.code is Code.INTERNAL:
            log.error("engine_error", role=self.role.name, error=reply.message, stack=reply.payload.decode())
        if entry.outcome.done():
            return
        if reply.code is Code.OK:
            entry.outcome.set_result(reply)
        else:
            entry.outcome.set_exception(StatusError(reply.code, reply.message))

    def _fail(self, entry: _Waiting) -> None:
        if not entry.outcome.done():
            entry.outcome.set_exception(_gone(entry.request.collection))

    async def _watch(self) -> None:
        """Wait for the end of the process, then fail everything that waits for it."""
        code = await self._child.wait()
        self._progress.cancel()
        await asyncio.wait({self._progress})
        if not self._stopping:
            log.warning("engine_died", role=self.role.name, pid=self.pid, code=code)
        self._alive = False
        if self.current is None:
            self._worker.cancel()
        await asyncio.wait({self._worker})
        for entry in list(self._waiting.values()):
            self._fail(entry)
        self._waiting.clear()
        self._child.hang_up()

    async def _watch_progress(self) -> None:
        """Kill the process if it hangs, so that another one takes its place."""
        if not self._options.silent_seconds:
            return
        progress = EngineProgress(self.pid)

        async def alive() -> bool:
            return self.current is None or progress.worked()

        patience = Patience(self._options.silent_seconds, starting_seconds=self._options.silent_seconds)
        seconds = await Silence(Watch(alive, patience)).too_long()
        request = None if self.current is None else self.current.operation.name.lower()
        log.error("engine_hangs", role=self.role.name, pid=self.pid, request=request, silent_seconds=round(seconds))
        self._end()


def _gone(collection: str) -> StatusError:
    return unavailable(f"The process that holds collection `{collection}` has ended; try again")
