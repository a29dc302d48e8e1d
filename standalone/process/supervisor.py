"""Keeps one child running: starts it, sees that it gets ready, starts it again when it dies, stops it."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from servicekit.process.service import EXIT_CONFIG, StartupError
from servicekit.telemetry.logs import get_logger
from standalone.instance.readiness import Probe
from standalone.process.child_log import ChildLog
from standalone.process.child_process import ChildProcess, Command, spawn

log = get_logger(__name__)

PROBE_SECONDS = 0.05
MAX_PROBE_SECONDS = 0.5


@dataclass(frozen=True)
class RestartPolicy:
    """How long to wait before a child that died is started again, in seconds; doubled with every death in a row."""

    first_delay: float = 0.5
    max_delay: float = 30.0
    # A child that ran this long is taken to be well: its next death is a first one again.
    stable_after: float = 60.0
    # A child that dies this often before it was ever ready will not get ready.
    start_attempts: int = 3

    def delay(self, deaths: int) -> float:
        """Seconds to wait after the `deaths`-th death in a row (from 1)."""
        return min(self.first_delay * 2.0 ** min(deaths - 1, 30), self.max_delay)


@dataclass(frozen=True)
class ChildSpec:
    """A child: what runs, how one sees that it is ready, how it is asked to stop and how long it may take (s)."""

    name: str
    command: Command
    ready: Probe
    grace_seconds: float
    stop_signal: signal.Signals = signal.SIGTERM
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    inherited: tuple[int, ...] = ()


class Child:
    """A supervised child. Made by `supervised`, which also stops it."""

    def __init__(self, spec: ChildSpec, output: ChildLog) -> None:
        self._spec = spec
        self._output = output
        self._process: ChildProcess | None = None
        self._stopping = asyncio.Event()
        self._settled = asyncio.Event()
        self._failure: StartupError | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs now, if one does."""
        return self._process.pid if self._process else None

    async def wait_ready(self) -> None:
        """Returns when the child has been ready once. Raises StartupError when it cannot be started."""
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure

    async def run(self) -> None:
        """Starts the child again and again until it is stopped, or until it proves that it cannot start."""
        deaths = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            status = await self._run_once()
            if self._stopping.is_set():
                return
            stable = time.monotonic() - started >= self._spec.policy.stable_after
            deaths = 1 if stable else deaths + 1
            ended = describe_status(status)
            reason = self._output.reason()
            if not self._settled.is_set() and (deaths >= self._spec.policy.start_attempts or status == EXIT_CONFIG):
                self._failure = StartupError(f"{self._spec.name} cannot start ({ended}): {reason}")
                self._settled.set()
                return
            delay = self._spec.policy.delay(deaths)
            log.warning(
                "child_died", child=self._spec.name, ended=ended, reason=reason, deaths=deaths, restart_seconds=delay
            )
            await self._pause(delay)

    def ask_to_stop(self) -> None:
        """Sends the child its signal; it will not be started again."""
        self._stopping.set()
        if self._process is not None:
            self._process.send(self._spec.stop_signal)

    def kill(self) -> None:
        """Ends the child now."""
        if self._process is not None:
            log.warning("child_killed", child=self._spec.name, grace_seconds=self._spec.grace_seconds)
            self._process.kill()

    async def _run_once(self) -> int:
        self._output.forget()
        try:
            self._process = await spawn(self._spec.command, self._output, inherited=self._spec.inherited)
        except OSError as error:
            log.error("child_not_spawned", child=self._spec.name, error=str(error))
            return 127
        process = self._process
        probing = asyncio.create_task(self._probe(process))
        try:
            if self._stopping.is_set():
                process.send(self._spec.stop_signal)
            return await process.wait()
        finally:
            self._process = None
            probing.cancel()
            await asyncio.wait({probing})

    async def _probe(self, process: ChildProcess) -> None:
        started = time.monotonic()
        pause = PROBE_SECONDS
        while not await self._spec.ready():
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, MAX_PROBE_SECONDS)
        seconds = round(time.monotonic() - started, 2)
        log.info("child_ready", child=self._spec.name, pid=process.pid, seconds=seconds)
        self._settled.set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


@asynccontextmanager
async def supervised(spec: ChildSpec, output: ChildLog, hurry: asyncio.Event) -> AsyncIterator[Child]:
    """A child that is kept running while entered, and stopped in the end; `hurry` cuts its grace period short."""
    child = Child(spec, output)
    running = asyncio.create_task(child.run(), name=spec.name)
    try:
        yield child
    finally:
        child.ask_to_stop()
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({running, hurried}, timeout=spec.grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not running.done():
            child.kill()
        await running


def describe_status(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"exit status {status}"
