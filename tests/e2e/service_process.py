"""Runs a service as a separate process, as in a cluster, so that tests can stop it and start it again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_SECONDS = 60.0
STOP_SECONDS = 30.0

Probe = Callable[[], Awaitable[bool]]


class ServiceProcess:
    """One replica of a service."""

    def __init__(
        self,
        name: str,
        settings: Mapping[str, object],
        ready: Probe,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a replica.

        settings: its settings, without the prefix SIMILIS_.
        ready: tells whether it can be used.
        environment: further environment variables.
        """
        self.name = name
        self._settings = settings
        self._ready = ready
        self._log = log
        self._environment = environment or {}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        settings = {f"SIMILIS_{name.upper()}": str(value) for name, value in self._settings.items()}
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self.name),
                env={**os.environ, **self._environment, **settings},
                stderr=log,
            )
        async with asyncio.timeout(START_SECONDS):
            while not await self._ready():
                assert self.process.returncode is None, self.log()
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Ask it to stop, unless it has ended, and wait. Fail when its exit status is not 0."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            assert await self.process.wait() == 0, self.log()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ServiceProcess"]:
        """Run it while entered."""
        await self.start()
        try:
            yield self
            await self.stop()
        finally:
            if self.process is not None and self.process.returncode is None:
                self.process.kill()
                await self.process.wait()

    def log(self) -> str:
        """Return what it logged."""
        return self._log.read_text(errors="replace")


async def is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    """Return whether a gateway says that it is ready."""
    try:
        async with session.get(f"{url}/readyz", headers={"Connection": "close"}) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def gateway_ready(url: str) -> Probe:
    """Return a probe of a gateway."""

    async def ready() -> bool:
        async with aiohttp.ClientSession() as session:
            return await is_ready(session, url)

    return ready


def health_port_ready(port: int, host: str = "127.0.0.1") -> Probe:
    """Return a probe of a service's health port, which kubelets use in a cluster."""

    async def ready() -> bool:
        try:
            async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return ready
