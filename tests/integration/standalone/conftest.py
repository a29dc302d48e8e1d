"""A data directory, and Postgres running in it."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from standalone.instance.data_directory import DataDirectory, open_data_directory
from standalone.postgres.database import running_database
from standalone.postgres.server import prepare_cluster
from standalone.process.child_log import ChildLog
from tests.integration.stores import postgres_url, qdrant_address, workplace

__all__ = ["postgres_url", "qdrant_address", "workplace"]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cluster to copy, because creating one takes a second."""

    async def create() -> Path:
        async with open_data_directory(tmp_path_factory.mktemp("cluster") / "data", min_free_bytes=0) as data:
            await prepare_cluster(data, ChildLog("postgres", data.logs))
            return data.cluster

    return asyncio.run(create())


@pytest.fixture
async def new_data(tmp_path: Path) -> AsyncIterator[DataDirectory]:
    """A data directory without a cluster."""
    async with open_data_directory(tmp_path / "data", min_free_bytes=0) as data:
        yield data


@pytest.fixture
def data(new_data: DataDirectory, cluster: Path) -> DataDirectory:
    """A data directory with an empty cluster."""
    subprocess.run(["cp", "-a", str(cluster), str(new_data.cluster)], check=True)
    return new_data


@pytest.fixture
async def url(data: DataDirectory) -> AsyncIterator[str]:
    """The URL of our database in a running Postgres, still without a schema."""
    async with running_database(data) as url:
        yield url
