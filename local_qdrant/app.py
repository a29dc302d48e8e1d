"""Wires the one-machine Qdrant together and runs it until it is told to stop."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]

from local_qdrant.directory import DataDirectory, DirectoryInUseError
from local_qdrant.options import Options
from local_qdrant.router.holders import Holders
from local_qdrant.router.registry import Registry
from local_qdrant.router.servicer import QdrantServicer, add_services
from servicekit.telemetry.logs import get_logger

_log = get_logger(__name__)
_MOST_CALLS = 1024


async def run(options: Options) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit code. Problems at start are one line on standard error."""
    _allow_many_files()
    os.umask(0o077)
    try:
        with DataDirectory(options.data) as directory:
            async with _serving(directory, options) as address:
                sys.stdout.write(f"ready {address}\n")
                sys.stdout.flush()
                await _told_to_stop()
    except DirectoryInUseError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"cannot serve {options.listen} from {options.data}: {error}")
    return 0


@contextlib.asynccontextmanager
async def _serving(directory: DataDirectory, options: Options) -> AsyncIterator[str]:
    """A running server; yields the address that it listens on. Raises OSError when that is taken."""
    holders = Holders(directory, options)
    registry = Registry(directory, holders, options.min_free_bytes)
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", options.message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=_MOST_CALLS,
    )
    add_services(server, QdrantServicer(registry, holders, options.under_way_bytes).services())
    liveness = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(liveness, server)
    await liveness.set("", health_pb2.HealthCheckResponse.SERVING)
    address = _bind(server, options.listen)
    registry.load()
    try:
        await server.start()
        _log.info("listening", address=address, data=str(options.data))
        yield address
    finally:
        await liveness.enter_graceful_shutdown()
        await server.stop(options.grace_seconds)
        await registry.stop()
        await holders.stop()
        _log.info("stopped")


def _bind(server: grpc.aio.Server, listen: str) -> str:
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise OSError(f"the address is taken or not valid: {error}") from error
    return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


async def _told_to_stop() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _allow_many_files() -> None:
    """Open collections take some dozens of files each; engine processes inherit the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _refuse(message: str) -> int:
    sys.stderr.write(f"similis qdrant: {message}\n")
    return 1
