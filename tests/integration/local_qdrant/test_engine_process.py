"""The router's side of an engine process."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from local_qdrant.options import Options
from local_qdrant.router import engine_process
from local_qdrant.router.engine_process import EngineProcess, Role


async def test_stopping_a_dead_process_returns_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "STOP_SECONDS", 3600.0)
    process = await EngineProcess.start(Role("idle", open_collections=1, nice=0), Options(data=tmp_path))
    os.kill(process.pid, signal.SIGKILL)
    await process.ended()
    async with asyncio.timeout(20):
        await process.stop()
        await process.stop()
    assert not process.alive
