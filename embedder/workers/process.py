"""A worker process, seen from the embedder."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from functools import partial

from embedder.workers.cpu_limit import FATAL
from embedder.workers.current_request import CurrentRequest
from embedder.workers.messages import WorkerOrders, WorkerReady, WorkRequest, WorkResult, to_header, to_result
from servicekit.process.child_process import ChildGone, ChildProcess

MODULE = "embedder.workers"
EXIT_SECONDS = 2.0
# How long it may take until the exit status of a worker that has hung up is known. On a busy machine that is seconds.
STATUS_SECONDS = 5.0


class WorkerGone(Exception):
    """The worker exited before it answered.

    at_fault: the number of the request that it worked on; 0 if that is not known. out_of_time: it ended because that
    took too much CPU time.
    """

    def __init__(self, message: str, *, at_fault: int = 0, out_of_time: bool = False) -> None:
        super().__init__(message)
        self.at_fault = at_fault
        self.out_of_time = out_of_time

    def spares(self, request: int) -> bool:
        """Return whether a request only waited while the worker worked on another one."""
        return self.at_fault not in (0, request)


class WorkerUnfit(Exception):
    """The worker started but cannot work. The message says why."""


class WorkerProcess:
    """A running worker. It calls `on_change` after every answer and at its end.

    reserved: it only gets images of searches. retiring: it gets no more requests. out_of_time: it has exited because an
    image took too much CPU time.
    """

    def __init__(self, child: ChildProcess, ready: WorkerReady, current: CurrentRequest | None = None) -> None:
        """current: where the worker notes the request that it works on."""
        self.ready = ready
        self.answered = 0
        self.memory_bytes = 0
        self.retiring = False
        self.alive = True
        self.out_of_time = False
        self.reserved = False
        self.progressed_at = time.monotonic()
        self.on_change: Callable[[WorkerProcess], None] = lambda _: None
        self._child = child
        self._current = current or CurrentRequest(-1)
        self._unanswered: dict[int, tuple[WorkRequest, asyncio.Future[WorkResult]]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, orders: WorkerOrders, environment: dict[str, str], seconds: float, arena: int = -1
    ) -> "WorkerProcess":
        """Start a worker and wait until it has embedded the canary.

        arena: the file descriptor of the shared memory, if the role needs it. Raises WorkerUnfit if the worker reports
        a failure, WorkerGone if it exits or is not ready after `seconds`.
        """
        current = CurrentRequest.allocate()
        try:
            inherited = tuple(descriptor for descriptor in (arena, current.descriptor) if descriptor >= 0)
            child = await ChildProcess.start(
                *(MODULE, str(arena), str(current.descriptor)),
                pass_fds=inherited,
                environment=environment,
                # With Linux's autogroups, a worker that shared our session would take its time from us.
                new_session=True,
            )
            try:
                ready = await _send_orders(child, orders, seconds)
            except BaseException:
                await child.end(EXIT_SECONDS)
                raise
        except BaseException:
            current.close()
            raise
        return cls(child, ready, current)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def outstanding(self) -> int:
        """How many requests it has not answered yet."""
        return len(self._unanswered)

    @property
    def inputs(self) -> int:
        """How many images and views are in those requests."""
        return sum(request.inputs for request, _ in self._unanswered.values())

    @property
    def urgent(self) -> int:
        """How many of those requests are urgent."""
        return sum(request.urgent for request, _ in self._unanswered.values())

    @property
    def holds_suspect(self) -> bool:
        """Whether it has an image that may have ended another worker."""
        return any(request.suspect for request, _ in self._unanswered.values())

    def submit(self, request: WorkRequest) -> asyncio.Future[WorkResult]:
        """Send a request. The future raises WorkerGone if the worker exits before it answers."""
        if not self._unanswered:
            self.progressed_at = time.monotonic()
        result: asyncio.Future[WorkResult] = asyncio.get_running_loop().create_future()
        if not self.alive:
            result.set_exception(WorkerGone("the worker has exited"))
            return result
        self._unanswered[request.id] = (request, result)
        self._child.send(to_header(request), request.image)
        return result

    async def drain(self) -> None:
        """Wait until it has answered all requests, or has exited."""
        while self._unanswered:
            await asyncio.wait([result for _, result in self._unanswered.values()])
            await asyncio.sleep(0)

    def kill(self) -> None:
        """Kill it. `stop` must follow."""
        self._child.kill()

    async def stop(self) -> None:
        """Hang up and wait for its exit. It finishes the request that it works on and drops the others."""
        self.retiring = True
        await self._child.end(EXIT_SECONDS)
        await self._reading

    async def _read(self) -> None:
        try:
            while True:
                self._answer(to_result(*await self._child.receive()))
        except ChildGone:
            pass
        self.alive = False
        self.out_of_time = await self._ended_by(FATAL)
        unanswered, self._unanswered = self._unanswered, {}
        gone = partial(WorkerGone, at_fault=self._current.read(), out_of_time=self.out_of_time)
        self._current.close()
        for _, result in unanswered.values():
            if not result.done():
                result.set_exception(gone("the worker has exited"))
        self.on_change(self)

    async def _ended_by(self, signal_number: int) -> bool:
        """Return whether the worker, which has hung up, was ended by this signal."""
        if not self._unanswered:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STATUS_SECONDS):
                return await self._child.wait() == -signal_number
        return False

    def _answer(self, answer: WorkResult) -> None:
        self.progressed_at = time.monotonic()
        self.answered += 1
        self.memory_bytes = answer.memory_bytes
        _, result = self._unanswered.pop(answer.id)
        if not result.done():
            result.set_result(answer)
        self.on_change(self)


async def _send_orders(child: ChildProcess, orders: WorkerOrders, seconds: float) -> WorkerReady:
    """Send a worker its orders and return its first answer."""
    child.send(to_header(orders))
    try:
        async with asyncio.timeout(seconds):
            header, _ = await child.receive()
    except (TimeoutError, ChildGone):
        raise WorkerGone("a worker did not start") from None
    ready = WorkerReady(**json.loads(header))
    if ready.failure:
        raise WorkerUnfit(ready.failure)
    return ready
