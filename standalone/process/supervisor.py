"""Keeps one child running: starts it, probes whether it is ready, restarts it when it dies or hangs, stops it."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from servicekit.backoff import Backoff
from servicekit.process.service import EXIT_CONFIG, StartupError
from servicekit.process.silence import Silence, Watch
from servicekit.settings import SettingsError
from servicekit.telemetry.logs import get_logger
from standalone.process.child_log import ChildLog
from standalone.process.probes import Probe
from standalone.process.tethered_process import ChildCommand, TetheredProcess, spawn

log = get_logger(__name__)

PROBE_SECONDS = 0.05
MAX_PROBE_SECONDS = 0.5
NOT_SPAWNED = 127
# How long a child that hangs may take to stop, unless its usual grace period is shorter. Nobody waits for its work any
# more.
HUNG_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class RestartPolicy:
    """The backoff before a dead child is restarted, in seconds, and when to give it up."""

    first_delay: float = 0.5
    max_delay: float = 30.0
    # A child that ran this long counts as stable: its next death is a first one again.
    stable_after: float = 60.0
    # A child that dies this often before it was ever ready is given up.
    start_attempts: int = 3


def restart_policy(max_delay: float) -> RestartPolicy:
    """Return the usual policy with another longest wait, in seconds."""
    usual = RestartPolicy()
    return replace(usual, first_delay=min(usual.first_delay, max_delay), max_delay=max_delay)


@dataclass(frozen=True)
class ChildSpec:
    """What to run, how to tell that it is ready, how to stop it, and how many seconds that may take.

    watch: how to tell that it hangs; None: that goes unnoticed. explain: returns the error for the operator when what
    the child has written last says that it can never start; None when it does not. `ready` may raise such an error.
    """

    name: str
    command: ChildCommand
    ready: Probe
    grace_seconds: float
    stop_signal: signal.Signals = signal.SIGTERM
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    inherited: tuple[int, ...] = ()
    watch: Watch | None = None
    explain: Callable[[str], StartupError | None] = lambda _: None


class Child:
    """A supervised child. `supervised` creates it, and stops it."""

    def __init__(self, spec: ChildSpec, output: ChildLog) -> None:
        self._spec = spec
        self._output = output
        self._process: TetheredProcess | None = None
        self._stopping = asyncio.Event()
        # Set once the child was ready or was given up.
        self._started = asyncio.Event()
        self._failure: StartupError | SettingsError | None = None
        # Why the current process is being stopped, if it hangs.
        self._hangs: str | None = None

    @property
    def pid(self) -> int | None:
        """The id of the running process, or None."""
        return self._process.pid if self._process else None

    async def wait_ready(self) -> None:
        """Wait until the child has been ready once.

        Raises StartupError when it cannot start, SettingsError when one of its settings is wrong.
        """
        await self._started.wait()
        if self._failure is not None:
            raise self._failure

    async def run(self) -> None:
        """Run the child, and restart it, until it is stopped or given up."""
        policy = self._spec.policy
        backoff, deaths = Backoff(policy.first_delay, policy.max_delay), 0
        while not self._stopping.is_set():
            started = time.monotonic()
            status = await self._run_once()
            if self._stopping.is_set():
                return
            if time.monotonic() - started >= policy.stable_after:
                backoff.reset()
                deaths = 0
            deaths += 1
            if not self._started.is_set() and (deaths >= policy.start_attempts or status == EXIT_CONFIG):
                self._give_up(status)
                return
            delay = backoff.delay()
            log.warning(
                "child_died",
                child=self._spec.name,
                ended=describe_status(status),
                reason=self._hangs or self._output.reason(),
                deaths=deaths,
                restart_seconds=round(delay, 2),
            )
            await self._pause(delay)

    def stop(self) -> None:
        """Send the child its stop signal and do not restart it."""
        self._stopping.set()
        if self._process is not None:
            self._process.send(self._spec.stop_signal)

    def kill(self) -> None:
        """Kill the child now."""
        if self._process is not None:
            log.warning("child_killed", child=self._spec.name, grace_seconds=self._spec.grace_seconds)
            self._process.kill()

    def _give_up(self, status: int) -> None:
        reason = self._hangs or self._output.reason()
        if status == EXIT_CONFIG:
            # The child has named itself and the setting.
            self._failure = SettingsError(reason)
        else:
            plain = StartupError(f"{self._spec.name} cannot start ({describe_status(status)}): {reason}")
            self._failure = self._spec.explain(reason) or plain
        self._started.set()

    async def _run_once(self) -> int:
        self._output.forget()
        self._hangs = None
        try:
            self._process = await spawn(self._spec.command, self._output, inherited=self._spec.inherited)
        except OSError as error:
            log.error("child_start_failed", child=self._spec.name, error=str(error))
            return NOT_SPAWNED
        process = self._process
        silence = None if self._spec.watch is None else Silence(self._spec.watch)
        tasks = {asyncio.create_task(self._probe(process, silence))}
        if silence is not None:
            tasks.add(asyncio.create_task(self._watch(process, silence)))
        try:
            if self._stopping.is_set():
                process.send(self._spec.stop_signal)
            return await process.wait()
        finally:
            self._process = None
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _probe(self, process: TetheredProcess, silence: Silence | None) -> None:
        started = time.monotonic()
        pause = PROBE_SECONDS
        while not await self._is_ready():
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, MAX_PROBE_SECONDS)
        seconds = round(time.monotonic() - started, 2)
        log.info("child_ready", child=self._spec.name, pid=process.pid, seconds=seconds)
        self._started.set()
        if silence is not None:
            silence.is_ready()

    async def _is_ready(self) -> bool:
        try:
            if await self._spec.ready():
                return True
            failure = self._spec.explain(self._output.reason())
        except StartupError as error:
            failure = error
        if failure is not None and not self._started.is_set():
            self._failure = failure
            self._started.set()
        return False

    async def _watch(self, process: TetheredProcess, silence: Silence) -> None:
        """Stop the process if it hangs, and kill it if it does not stop."""
        seconds = round(await silence.too_long())
        if self._stopping.is_set():
            return
        self._hangs = f"it hung: no answer for {seconds} s"
        grace = min(HUNG_GRACE_SECONDS, self._spec.grace_seconds)
        log.error("child_hangs", child=self._spec.name, pid=process.pid, silent_seconds=seconds, action="restart")
        process.send(self._spec.stop_signal)
        # A process that somebody has suspended sees the signal only when it goes on.
        process.resume()
        await asyncio.sleep(grace)
        log.warning("child_killed", child=self._spec.name, grace_seconds=grace)
        process.kill()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


@asynccontextmanager
async def supervised(spec: ChildSpec, output: ChildLog, stop_now: asyncio.Event | None = None) -> AsyncIterator[Child]:
    """Keep a child running while entered, then stop it. Setting `stop_now` cuts its grace period short."""
    child = Child(spec, output)
    running = asyncio.create_task(child.run(), name=spec.name)
    try:
        yield child
    finally:
        child.stop()
        impatient = asyncio.create_task((stop_now or asyncio.Event()).wait())
        await asyncio.wait({running, impatient}, timeout=spec.grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        impatient.cancel()
        if not running.done():
            child.kill()
        await running


def describe_status(status: int) -> str:
    """Return an exit status in words."""
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"exit status {status}"
