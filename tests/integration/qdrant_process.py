"""Starts the one-machine Qdrant as a real process, for any test that needs one."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from qdrant_client import AsyncQdrantClient
from qdrant_client import grpc as messages

START_SECONDS = 60.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class QdrantProcess:
    """A running server. `grpc_port` is 0 on a Unix socket."""

    address: str
    host: str
    grpc_port: int
    process: asyncio.subprocess.Process

    def client(self, timeout: int = 30) -> AsyncQdrantClient:
        """Return a new client of this server. The caller closes it."""
        return qdrant_client(self.host, self.grpc_port, timeout)

    def engine_ids(self, kind: str) -> list[int]:
        """Return the process ids of the engine processes of a kind: `writer` or `reader`."""
        return [pid for pid, found in engine_processes(self.process.pid) if found == kind]

    async def stop(self) -> int:
        """Ask the server to stop and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            return await self.process.wait()


def qdrant_client(host: str, grpc_port: int, timeout: int = 30) -> AsyncQdrantClient:
    """Return a client that speaks gRPC only."""
    return AsyncQdrantClient(
        host=host, grpc_port=grpc_port, prefer_grpc=True, check_compatibility=False, timeout=timeout
    )


async def qdrant_health(address: str) -> messages.HealthCheckReply:
    """Return the answer of Qdrant's own health check."""
    async with grpc.aio.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/qdrant.Qdrant/HealthCheck",
            request_serializer=messages.HealthCheckRequest.SerializeToString,
            response_deserializer=messages.HealthCheckReply.FromString,
        )
        reply: messages.HealthCheckReply = await check(messages.HealthCheckRequest(), timeout=10)
        return reply


def engine_processes(router: int) -> list[tuple[int, str]]:
    """Return the process id and the kind (`writer` or `reader`) of each engine process of a router."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_text().split("\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        is_engine = "local_qdrant.engine.loop" in arguments
        if is_engine and arguments[arguments.index("local_qdrant.engine.loop") + 1] == str(router) and state != "Z":
            nice = arguments[arguments.index("--nice") + 1]
            found.append((int(entry.name), "reader" if nice == "0" else "writer"))
    return found


@asynccontextmanager
async def running_qdrant(data: Path, *arguments: str, listen: str = "127.0.0.1:0") -> AsyncIterator[QdrantProcess]:
    """Run a server while entered, on a free loopback port by default. Kill it if it does not stop by itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local_qdrant", "--data", str(data)),
        *("--listen", listen, *arguments),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            line = (await process.stdout.readline()).decode().split()
        assert line, "the one-machine Qdrant ended before it was ready"
        host, _, port = line[1].rpartition(":")
        server = QdrantProcess(line[1], host, 0 if listen.startswith("unix:") else int(port), process)
        yield server
        if process.returncode is None:
            assert await server.stop() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
