"""A trainer as a process of its own, which tests can kill."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trainer.config import TrainerSettings

START_SECONDS, STOP_SECONDS = 60.0, 30.0


def environment(settings: TrainerSettings) -> dict[str, str]:
    """Return the settings as environment variables."""
    values = settings.model_dump(exclude_none=True)
    values["database_url"] = settings.database_url.get_secret_value()
    return {f"SIMILIS_{name.upper()}": str(value) for name, value in values.items()}


@asynccontextmanager
async def trainer_process(
    settings: TrainerSettings, log: list[dict[str, object]] | None = None, *, module: str = "trainer"
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A started `python -m trainer`, killed on exit if it still runs.

    log: receives the events that it logs. module: the module to run instead of `trainer`.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        env={**os.environ, **environment(settings)},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    events = [] if log is None else log
    reading = asyncio.create_task(_read(process.stderr, events))
    try:
        async with asyncio.timeout(START_SECONDS):
            while not any(event["event"] == "service_started" for event in events):
                assert process.returncode is None, events
                await asyncio.sleep(0.02)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def stop(process: asyncio.subprocess.Process) -> int:
    """Ask the process to stop and return its exit status."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(STOP_SECONDS):
        return await process.wait()


async def _read(stream: asyncio.StreamReader, events: list[dict[str, object]]) -> None:
    while line := await stream.readline():
        try:
            events.append(json.loads(line))
        except ValueError:
            events.append({"event": line.decode()})
