"""The one-machine run: every part a child process, started in order, stopped in reverse."""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from catalog.api_keys import ApiKeys
from catalog.postgres.database import Database
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import exposition_endpoint
from standalone.admin_key import ensure_admin_key
from standalone.config import StandaloneSettings
from standalone.instance.data_directory import DataDirectory, opened
from standalone.instance.ports import authority, listenable
from standalone.instance.run_directory import run_directory
from standalone.instance.services import Addresses, Services, operators_environment
from standalone.metrics import InstanceMetrics
from standalone.postgres.server import database_url, ensure_database, postgres_spec, prepare
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import Child, ChildSpec, supervised
from standalone.schema import bring_up_to_date

log = get_logger(__name__)


@dataclass(frozen=True)
class UpOptions:
    """What `similis up` was asked for; port 0 takes a free one. metrics_port: None where nothing is gathered."""

    data: Path
    host: str
    port: int
    allow_private_addresses: bool
    metrics_port: int | None = None


class StartedChildren:
    """The children that were started so far; the last one is stopped first."""

    def __init__(self, stack: AsyncExitStack, data: DataDirectory, hurry: asyncio.Event) -> None:
        self._stack = stack
        self._data = data
        self._hurry = hurry
        self._started: list[Child] = []

    async def start(self, spec: ChildSpec) -> Child:
        """Starts a child, which is stopped when the stack is closed."""
        output = ChildLog(spec.name, self._data.logs)
        child = await self._stack.enter_async_context(supervised(spec, output, self._hurry))
        self._started.append(child)
        return child

    async def wait_ready(self) -> None:
        """Returns when all are ready; raises the StartupError of the first that cannot be."""
        try:
            async with asyncio.TaskGroup() as group:
                for child in self._started:
                    group.create_task(child.wait_ready())
        except ExceptionGroup as errors:
            # One line for the operator: what ended first ended the wait for the others.
            raise errors.exceptions[0] from None


async def up(options: UpOptions, settings: StandaloneSettings) -> None:
    """Runs the instance until SIGTERM, SIGINT or SIGHUP; a second signal does not wait for requests to end.

    Raises StartupError when it cannot be started.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    # Ignored means that somebody said nohup: the end of the terminal is not our end then.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, on_signal)
    running = asyncio.create_task(_run(options, settings, hurry))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not running.done():
        log.info("stopping")
        running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    if stop.is_set():
        log.info("stopped")


async def _run(options: UpOptions, settings: StandaloneSettings, hurry: asyncio.Event) -> None:
    if options.metrics_port and options.metrics_port == options.port:
        raise StartupError(f"the API and the metrics of all processes cannot both have port {options.port}")
    port = listenable(options.host, options.port)
    async with AsyncExitStack() as stack:
        data = await stack.enter_async_context(opened(options.data, min_free_bytes=settings.min_free_disk_bytes))
        sockets = stack.enter_context(run_directory(data))
        children = StartedChildren(stack, data, hurry)
        addresses = Addresses(options.host, port, sockets)
        services = Services(
            data,
            addresses,
            environment=operators_environment(),
            grace_seconds=settings.shutdown_grace_seconds,
            allow_private_addresses=options.allow_private_addresses,
            gather_metrics=options.metrics_port is not None,
        )
        await _show_metrics(stack, options, addresses)
        try:
            async with asyncio.timeout(settings.start_timeout_seconds):
                await _start(children, services, data, sockets)
        except TimeoutError:
            seconds = f"{settings.start_timeout_seconds:g} s"
            raise StartupError(f"not ready after {seconds} ({services.endpoint.said}); {data.logs} says more") from None
        log.info("ready", data=str(data.root))
        with suppress(BrokenPipeError):
            sys.stdout.write(f"ready http://{authority(options.host, port)}\n")
            sys.stdout.flush()
        await asyncio.Event().wait()


async def _show_metrics(stack: AsyncExitStack, options: UpOptions, addresses: Addresses) -> None:
    if options.metrics_port is None:
        return
    services = ("gateway", "embedder", "trainer")
    metrics = InstanceMetrics({name: addresses.metrics(name) for name in services}, options.data)
    endpoint = exposition_endpoint(metrics.exposition, options.host, options.metrics_port)
    port = await stack.enter_async_context(endpoint)
    log.info("metrics_served", address=f"http://{authority(options.host, port)}/metrics")


async def _start(children: StartedChildren, services: Services, data: DataDirectory, sockets: Path) -> None:
    # What needs no database loads while the database comes up; the databases are the last to stop.
    await prepare(data, ChildLog("postgres", data.logs))
    postgres = await children.start(postgres_spec(data, sockets))
    await children.start(services.qdrant())
    await children.start(services.embedder())
    await postgres.wait_ready()
    await ensure_database(sockets)
    url = database_url(sockets)
    await bring_up_to_date(url)
    await _hand_over_key(url, data)
    await children.start(services.trainer())
    await children.start(services.gateway())
    await children.wait_ready()


async def _hand_over_key(url: str, data: DataDirectory) -> None:
    try:
        async with Database.open(url, max_connections=1) as database:
            if await ensure_admin_key(ApiKeys(database), data.admin_key):
                log.info("api_key_created", file=str(data.admin_key))
    except ServiceError as error:
        raise StartupError(f"cannot make the first API key: {error.message}") from error
