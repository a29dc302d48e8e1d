"""The process of a service: load the settings, start, serve until a signal, drain, stop."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import NoReturn

from servicekit.process.descriptors import raise_descriptor_limit
from servicekit.process.priority import step_back
from servicekit.settings import S, SettingsError, load_settings
from servicekit.telemetry.logs import configure_logging, get_logger

log = get_logger(__name__)

EXIT_CONFIG = 78


class StartupError(Exception):
    """The service cannot start. The message is one line for the operator."""


def run_service(
    name: str,
    settings: type[S],
    build: Callable[[S], AbstractAsyncContextManager[object]],
    *,
    others: Collection[str] = (),
) -> int:
    """Run a service until SIGTERM or SIGINT, and return the exit status for `end_process`.

    0: a clean stop. 78: a wrong setting. 1: the service could not start. `build` returns the application, an
    asynchronous context manager that serves while it is entered. It raises SettingsError or StartupError. others:
    further services that it runs, by their packages.
    """
    try:
        loaded = load_settings(settings)
        configure_logging(name, level=loaded.log_level, log_format=loaded.log_format, others=others)
    except (SettingsError, ValueError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return EXIT_CONFIG
    step_back(loaded.niceness)
    raise_descriptor_limit()
    try:
        with _tracing(name, loaded.tracing):
            # The runner is never closed, because that would wait for threads. See `end_process`.
            asyncio.Runner().run(_serve(name, build(loaded)))
    except SettingsError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return EXIT_CONFIG
    except StartupError as error:
        log.error("service_start_failed", reason=str(error))
        return 1
    return 0


def end_process(status: int) -> NoReturn:
    """End the process at once, after everything of ours is closed.

    A normal exit waits for the threads of libraries. A DNS lookup in one of them can hang for as long as the name
    server is silent.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextmanager
def _tracing(name: str, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    try:
        from servicekit.telemetry.trace_export import exported_traces
    except ImportError as error:
        raise SettingsError(
            "SIMILIS_TRACING needs additional packages. Run in the checkout: pip install -e '.[tracing]'"
        ) from error
    with exported_traces(name):
        yield


async def _serve(name: str, application: AbstractAsyncContextManager[object]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with application:
        # What the process has loaded stays. To look through it for garbage would stop all requests for 50 ms.
        gc.freeze()
        log.info("service_started", name=name)
        await stop.wait()
        log.info("service_stopping", name=name)
    log.info("service_stopped", name=name)
