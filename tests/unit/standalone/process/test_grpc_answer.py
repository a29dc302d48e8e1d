"""Whether a gRPC server answers: it does not while its event loop is blocked, though it accepts connections."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from standalone.process.grpc_answer import answers_grpc
from standalone.process.probes import accepts_connections

SERVER = """
import asyncio, signal, sys, time
import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health

def block():
    print("blocked", flush=True)
    time.sleep(600)

async def main():
    server = grpc.aio.server()
    if len(sys.argv) > 2:
        health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    server.add_insecure_port(f"unix:{sys.argv[1]}")
    await server.start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, block)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def running(path: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a server until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER, str(path), *arguments), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        await process.communicate()


async def answers(path: Path, seconds: float) -> bool:
    async with asyncio.timeout(seconds):
        return await answers_grpc(path)


@pytest.mark.parametrize("arguments", [(), ("health",)], ids=["without health checks", "with health checks"])
async def test_any_answer_counts(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with running(tmp_path / "s", *arguments):
        assert await answers(tmp_path / "s", 30)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGSTOP])
async def test_a_server_that_is_blocked_or_suspended_does_not_answer(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "s"
    async with running(path, "health") as process:
        os.kill(process.pid, number)
        if number == signal.SIGUSR1:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"blocked\n"
        with pytest.raises(TimeoutError):
            await answers(path, 1)
        # To connect is not enough.
        assert await accepts_connections(path)()


async def test_a_server_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await answers(tmp_path / "s", 30)
