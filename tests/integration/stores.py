"""Fixtures: one Postgres and one Qdrant for all tests of a folder, and a separate workplace for each test."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from catalog.vectors.client import QdrantAddress, open_qdrant
from tests.integration.databases import new_database
from tests.integration.gateway.parts import running_postgres
from tests.integration.qdrant_process import running_qdrant
from tests.integration.workplace import Workplace, open_workplace


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a database with our schema. Nobody is connected to it, so it can be copied."""
    async with running_postgres(tmp_path_factory.mktemp("stores") / "data") as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def qdrant_address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Host and gRPC port of the one-machine Qdrant, or of the server in SIMILIS_TEST_QDRANT.

    Fails at the end if tests have left collections in it.
    """
    if address := os.environ.get("SIMILIS_TEST_QDRANT"):
        yield address
        return
    async with running_qdrant(tmp_path_factory.mktemp("stores-qdrant")) as server:
        yield f"{server.host}:{server.grpc_port}"
        async with open_qdrant(QdrantAddress(f"{server.host}:{server.grpc_port}")) as client:
            assert await client.collection_names() == []


@pytest_asyncio.fixture(loop_scope="session")
async def workplace(postgres_url: str, qdrant_address: str, tmp_path: Path) -> AsyncIterator[Workplace]:
    """The catalog of one test, with its own database and its own names in Qdrant."""
    async with new_database(postgres_url) as url, open_workplace(url, qdrant_address, tmp_path) as place:
        yield place
