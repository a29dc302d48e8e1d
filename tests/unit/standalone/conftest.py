"""Small real children, and a data directory to run Postgres in."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from similis.standalone.child_log import ChildLog
from similis.standalone.child_process import Command
from similis.standalone.data_directory import DataDirectory, opened
from similis.standalone.postgres import ensure_database, postgres_spec, prepare
from similis.standalone.run_directory import run_directory
from similis.standalone.supervisor import ChildSpec, RestartPolicy, supervised

QUICK = RestartPolicy(first_delay=0.01, max_delay=0.05, stable_after=60.0)


async def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Returns as soon as the condition holds; fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)


def python_child(
    directory: Path, script: str, *, policy: RestartPolicy = QUICK, grace_seconds: float = 20.0, name: str = "child"
) -> ChildSpec:
    """A child that runs `script` in `directory` and is ready when it has made the file `ready` there."""

    async def ready() -> bool:
        return (directory / "ready").exists()

    command = Command((sys.executable, "-I", "-S", "-u", "-c", script), {}, directory)
    return ChildSpec(name, command, ready, grace_seconds=grace_seconds, policy=policy)


@pytest.fixture
def output(tmp_path: Path) -> ChildLog:
    logs = tmp_path / "logs"
    logs.mkdir()
    return ChildLog("child", logs)


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[DataDirectory]:
    async with opened(tmp_path / "data", min_free_bytes=0) as data:
        yield data


@pytest.fixture
async def postgres(data: DataDirectory) -> AsyncIterator[Path]:
    """A running Postgres with our database in it; gives the directory with its socket."""
    output = ChildLog("postgres", data.logs)
    async with AsyncExitStack() as stack:
        sockets = stack.enter_context(run_directory(data))
        await prepare(data, output)
        child = await stack.enter_async_context(supervised(postgres_spec(data, sockets), output, asyncio.Event()))
        await child.wait_ready()
        await ensure_database(sockets)
        yield sockets
