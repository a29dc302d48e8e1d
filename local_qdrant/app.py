"""Wires the one-machine Qdrant together and runs it until a signal stops it."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]  # the stubs lack it

from local_qdrant.options import Options
from local_qdrant.router.placement import Placement
from local_qdrant.router.registry import Registry
from local_qdrant.router.servicer import QdrantServicer, add_services
from local_qdrant.storage import Storage, StorageInUseError
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

MAX_CONCURRENT_CALLS = 1024


async def run(options: Options) -> int:
    """Serve until SIGTERM or SIGINT and return the exit status.

    A server that cannot start says why in one line on standard error.
    """
    _raise_file_limit()
    os.umask(0o077)
    try:
        with Storage(options.data) as storage:
            async with _serving(storage, options) as address:
                sys.stdout.write(f"ready {address}\n")
                sys.stdout.flush()
                await _stop_signal()
    except StorageInUseError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot listen on {options.listen} with data in {options.data}: {error}")
    return 0


@asynccontextmanager
async def _serving(storage: Storage, options: Options) -> AsyncIterator[str]:
    """Run the server while entered and yield its address. Raise OSError when the address cannot be used."""
    placement = Placement(storage, options)
    registry = Registry(storage, placement, options.min_free_bytes)
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", options.message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            # Clients check every 10 s whether a server that works on a call is still there.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ],
        maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS,
    )
    add_services(server, QdrantServicer(registry, placement, options.pending_bytes).services())
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    address = _bind(server, options.listen)
    registry.load()
    try:
        await server.start()
        log.info("listening", address=address, data=str(options.data))
        yield address
    finally:
        await health.enter_graceful_shutdown()
        await server.stop(options.grace_seconds)
        await registry.stop()
        await placement.stop()
        log.info("stopped")


def _bind(server: grpc.aio.Server, listen: str) -> str:
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise OSError(f"the address is in use or not valid ({error})") from error
    return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


async def _stop_signal() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _raise_file_limit() -> None:
    """Allow as many open files as the system permits: an open collection needs dozens. Engine processes inherit it."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def _fail(message: str) -> int:
    sys.stderr.write(f"similis qdrant: {message}\n")
    return 1
