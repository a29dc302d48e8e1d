"""A service as a process of its own, as a cluster runs it, that can be stopped and started again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 30.0


class ServiceProcess:
    """One replica. ready: whether it can be used, asked until it is."""

    def __init__(
        self, name: str, settings: Mapping[str, object], ready: Callable[[], Awaitable[bool]], log: Path
    ) -> None:
        self.name = name
        self._settings = settings
        self._ready = ready
        self._log = log
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it is ready."""
        told = {f"SIMILIS_{name.upper()}": str(value) for name, value in self._settings.items()}
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"similis.{self.name}"), env={**os.environ, **told}, stderr=log
            )
        async with asyncio.timeout(START_SECONDS):
            while not await self._ready():
                assert self.process.returncode is None, self.said()
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Asks it to stop, and waits; fails when it does not end well."""
        assert self.process is not None
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
