"""Fixtures: one Postgres and one Qdrant for all tests of a folder, and a place of its own for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.databases import new_database
from tests.integration.gateway.parts import running_postgres
from tests.integration.qdrant_process import QdrantProcess, running_qdrant
from tests.integration.workplace import Workplace, open_workplace


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a database with our schema, to which nobody is connected."""
    async with running_postgres(tmp_path_factory.mktemp("stores") / "data") as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def qdrant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[QdrantProcess]:
    """The one-machine Qdrant."""
    async with running_qdrant(tmp_path_factory.mktemp("stores-qdrant")) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def workplace(postgres_url: str, qdrant: QdrantProcess, tmp_path: Path) -> AsyncIterator[Workplace]:
    """A database of the test's own, and its own names in Qdrant."""
    address = f"{qdrant.host}:{qdrant.grpc_port}"
    async with new_database(postgres_url) as url, open_workplace(url, address, tmp_path) as place:
        yield place
