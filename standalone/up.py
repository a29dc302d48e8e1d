"""`similis up`: runs every part as a child process, started in order and stopped in reverse."""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from catalog.keys.api_keys import ApiKeys
from catalog.postgres.database import Database
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError
from servicekit.settings import SettingsError
from servicekit.telemetry.logs import get_logger
from servicekit.version import VERSION
from standalone.admin_key import ensure_admin_key
from standalone.config import StandaloneSettings
from standalone.instance.addresses import Addresses, authority, check_port
from standalone.instance.data_directory import DataDirectory, open_data_directory
from standalone.instance.run_directory import run_directory
from standalone.postgres.damage import DamagedDatabase, check_tables, damage_reported
from standalone.postgres.server import database_url, ensure_database, postgres_spec, prepare_cluster
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import Child, ChildSpec, restart_policy, supervised
from standalone.schema import migrate_data_directory
from standalone.services import Services, operators_environment

log = get_logger(__name__)


@dataclass(frozen=True)
class UpOptions:
    """The options of `similis up`. Port 0 takes any free port.

    metrics_port: where to serve the metrics of all processes, or None.
    """

    data: Path
    host: str
    port: int
    allow_private_addresses: bool
    metrics_port: int | None = None


class Children:
    """The children that were started. The last one is stopped first."""

    def __init__(self, stack: AsyncExitStack, data: DataDirectory, stop_now: asyncio.Event) -> None:
        """stack: stops the children when it is closed. stop_now: cuts their grace periods short when it is set."""
        self._stack = stack
        self._data = data
        self._stop_now = stop_now
        self._started: list[Child] = []

    async def start(self, spec: ChildSpec) -> Child:
        """Start a child."""
        output = ChildLog(spec.name, self._data.logs)
        child = await self._stack.enter_async_context(supervised(spec, output, self._stop_now))
        self._started.append(child)
        return child

    async def wait_ready(self) -> None:
        """Wait until all children are ready. Raises the error of the first one that cannot start."""
        try:
            async with asyncio.TaskGroup() as group:
                for child in self._started:
                    group.create_task(child.wait_ready())
        except ExceptionGroup as errors:
            # The operator gets one line: the first failure cancelled the wait for the others.
            raise errors.exceptions[0] from None


async def up(options: UpOptions, settings: StandaloneSettings) -> None:
    """Run the instance until SIGTERM, SIGINT or SIGHUP. A second signal stops it without waiting for requests.

    Raises StartupError when the instance cannot start, SettingsError when an option or a setting is wrong.
    """
    stop, stop_now = asyncio.Event(), asyncio.Event()
    _handle_signals(stop, stop_now)
    running = asyncio.create_task(_run(options, settings, stop_now))
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


def _handle_signals(stop: asyncio.Event, stop_now: asyncio.Event) -> None:
    def on_signal() -> None:
        (stop_now if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    # Under nohup SIGHUP is ignored, and the end of the terminal must not stop us.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, on_signal)


async def _run(options: UpOptions, settings: StandaloneSettings, stop_now: asyncio.Event) -> None:
    if options.metrics_port and options.metrics_port == options.port:
        raise SettingsError(f"--port and --metrics-port must differ, both are {options.port}")
    port = check_port(options.host, options.port)
    async with AsyncExitStack() as stack:
        data = await stack.enter_async_context(
            open_data_directory(options.data, min_free_bytes=settings.min_free_disk_bytes)
        )
        log.info("starting", version=VERSION, data=str(data.root))
        sockets = stack.enter_context(run_directory(data))
        addresses = Addresses(options.host, port, sockets)
        services = Services(
            data,
            addresses,
            environment=operators_environment(),
            grace_seconds=settings.shutdown_grace_seconds,
            allow_private_addresses=options.allow_private_addresses,
            merge_metrics=options.metrics_port is not None,
            restarts=restart_policy(settings.max_restart_delay_seconds),
            patience=settings.patience,
        )
        if options.metrics_port is not None:
            await _serve_metrics(stack, addresses, options.metrics_port, options.data)
        children = Children(stack, data, stop_now)
        try:
            async with asyncio.timeout(settings.start_timeout_seconds):
                await _start(children, services, data, sockets, settings)
        except DamagedDatabase:
            # Postgres may not stop by itself, and there is no work to finish.
            stop_now.set()
            raise
        except TimeoutError:
            raise StartupError(
                f"not ready after {settings.start_timeout_seconds:g} s (SIMILIS_START_TIMEOUT_SECONDS). "
                f"The gateway's last response: {services.probe.last_answer}. The logs are in {data.logs}"
            ) from None
        log.info("ready", data=str(data.root), logs=str(data.logs))
        with suppress(BrokenPipeError):
            sys.stdout.write(f"ready http://{authority(options.host, port)}\n")
            sys.stdout.flush()
        await asyncio.Event().wait()


async def _serve_metrics(stack: AsyncExitStack, addresses: Addresses, port: int, data: Path) -> None:
    # Imported only if they are needed, because they load a web server.
    from servicekit.telemetry.metrics import exposition_endpoint
    from standalone.metrics import InstanceMetrics

    sockets = {name: addresses.metrics(name) for name in ("gateway", "embedder", "trainer")}
    endpoint = exposition_endpoint(InstanceMetrics(sockets, data).exposition, addresses.host, port)
    port = await stack.enter_async_context(endpoint)
    log.info("metrics_served", address=f"http://{authority(addresses.host, port)}/metrics")


async def _start(
    children: Children, services: Services, data: DataDirectory, sockets: Path, settings: StandaloneSettings
) -> None:
    # Children that need no database load while it comes up. The databases are the last to stop.
    await prepare_cluster(data, ChildLog("postgres", data.logs))
    spec = postgres_spec(
        data, sockets, max_restart_delay=settings.max_restart_delay_seconds, patience=settings.patience
    )
    postgres = await children.start(spec)
    await children.start(services.qdrant())
    await children.start(services.gateway())
    await postgres.wait_ready()
    url = database_url(sockets)
    with damage_reported(data, starting=True):
        await ensure_database(sockets)
        await migrate_data_directory(url)
        await check_tables(url)
        await _hand_over_key(url, data)
    await children.start(services.trainer())
    await children.wait_ready()


async def _hand_over_key(url: str, data: DataDirectory) -> None:
    try:
        async with Database.open(url, max_connections=1) as database:
            if await ensure_admin_key(ApiKeys(database), data.admin_key):
                log.info("api_key_created", file=str(data.admin_key))
    except ServiceError as error:
        raise StartupError(f"cannot create the first API key: {error.message}") from error
