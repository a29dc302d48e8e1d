"""A service as a process of its own, as a cluster runs it, that can be stopped and started again."""

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


class ServiceProcess:
    """One replica. ready: whether it can be used, asked until it is."""

    def __init__(
        self,
        name: str,
        settings: Mapping[str, object],
        ready: Callable[[], Awaitable[bool]],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """settings: ours, without their prefix. environment: what else it is told."""
        self.name = name
        self._settings = settings
        self._ready = ready
        self._log = log
        self._environment = environment or {}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it is ready."""
        told = {f"SIMILIS_{name.upper()}": str(value) for name, value in self._settings.items()}
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"similis.{self.name}"),
                env={**os.environ, **self._environment, **told},
                stderr=log,
            )
        async with asyncio.timeout(START_SECONDS):
            while not await self._ready():
                assert self.process.returncode is None, self.said()
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Asks it to stop, unless it did, and waits; fails when it does not end well."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            assert await self.process.wait() == 0, self.said()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ServiceProcess"]:
        """Runs while entered."""
        await self.start()
        try:
            yield self
            await self.stop()
        finally:
            if self.process is not None and self.process.returncode is None:
                self.process.kill()
                await self.process.wait()

    def said(self) -> str:
        """What it logged."""
        return self._log.read_text(errors="replace")


async def is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz", headers={"Connection": "close"}) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def gateway_ready(url: str) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        async with aiohttp.ClientSession() as session:
            return await is_ready(session, url)

    return ready


def serves(port: int, host: str = "127.0.0.1") -> Callable[[], Awaitable[bool]]:
    """Whether a service says so at its plain port, as a kubelet asks."""

    async def ready() -> bool:
        try:
            async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return ready
