"""A data directory, and Postgres running in it."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from standalone.instance.data_directory import DataDirectory, opened
from standalone.instance.run_directory import run_directory
from standalone.postgres.server import ensure_database, postgres_spec, prepare
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import supervised


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cluster to copy, since making one takes a second."""

    async def make() -> Path:
        async with opened(tmp_path_factory.mktemp("cluster") / "data", min_free_bytes=0) as data:
            await prepare(data, ChildLog("postgres", data.logs))
            return data.cluster

    return asyncio.run(make())


@pytest.fixture
async def new_data(tmp_path: Path) -> AsyncIterator[DataDirectory]:
    """A data directory in which there is nothing yet."""
    async with opened(tmp_path / "data", min_free_bytes=0) as data:
        yield data


@pytest.fixture
def data(new_data: DataDirectory, cluster: Path) -> DataDirectory:
    """A data directory with an empty cluster."""
    subprocess.run(["cp", "-a", str(cluster), str(new_data.cluster)], check=True)
    return new_data


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
