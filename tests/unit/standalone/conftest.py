"""Small real children and a data directory."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from servicekit.process.silence import Watch
from standalone.instance.data_directory import DataDirectory, open_data_directory
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import ChildSpec, RestartPolicy
from standalone.process.tethered_process import ChildCommand

QUICK = RestartPolicy(first_delay=0.01, max_delay=0.05, stable_after=60.0)


def python_child(
    directory: Path,
    script: str,
    *,
    policy: RestartPolicy = QUICK,
    grace_seconds: float = 20.0,
    name: str = "child",
    watch: Watch | None = None,
) -> ChildSpec:
    """Return a child that runs `script` in `directory` and is ready once the file `ready` exists there."""

    async def ready() -> bool:
        return (directory / "ready").exists()

    command = ChildCommand((sys.executable, "-I", "-S", "-u", "-c", script), {}, directory)
    return ChildSpec(name, command, ready, grace_seconds=grace_seconds, policy=policy, watch=watch)


@pytest.fixture
def output(tmp_path: Path) -> ChildLog:
    logs = tmp_path / "logs"
    logs.mkdir()
    return ChildLog("child", logs)


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[DataDirectory]:
    async with open_data_directory(tmp_path / "data", min_free_bytes=0) as data:
        yield data
