"""Starts the one-machine Qdrant as a real process, for any test that needs one."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from qdrant_client import AsyncQdrantClient

START_SECONDS = 60.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class QdrantProcess:
    """A running server: where it listens, and the process. The port is 0 on a Unix socket."""

    address: str
    host: str
    grpc_port: int
    process: asyncio.subprocess.Process

    def client(self, timeout: int = 30) -> AsyncQdrantClient:
        """A new client of this server. The caller closes it."""
        return qdrant_client(self.host, self.grpc_port, timeout)

    def engine_ids(self, kind: str) -> list[int]:
        """Process ids of the engine processes that write (`writer`) or serve (`server`)."""
        return [pid for pid, found in engine_processes(self.process.pid) if found == kind]

    async def stop(self) -> int:
        """Ask the server to stop; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            return await self.process.wait()


def qdrant_client(host: str, grpc_port: int, timeout: int = 30) -> AsyncQdrantClient:
    """A client that speaks gRPC only."""
    return AsyncQdrantClient(
        host=host, grpc_port=grpc_port, prefer_grpc=True, check_compatibility=False, timeout=timeout
    )


def engine_processes(router: int) -> list[tuple[int, str]]:
    """The engine processes of a router: process id, and `writer` or `server`."""
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
            found.append((int(entry.name), "server" if nice == "0" else "writer"))
    return found


@contextlib.asynccontextmanager
async def running_qdrant(data: Path, *arguments: str, listen: str = "127.0.0.1:0") -> AsyncIterator[QdrantProcess]:
    """A server, by default on a free loopback port, stopped (killed, if it does not stop) when the block ends."""
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
