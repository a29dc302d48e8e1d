"""A Qdrant server to test against: the one-machine process, or any server that is named.

`SIMILIS_TEST_QDRANT=host:grpc_port` runs the functional tests against that server. They create and delete
collections whose names start with `similis-test-`.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from qdrant_client import AsyncQdrantClient

from tests.integration.qdrant_process import QdrantProcess, qdrant_client, running_qdrant

SERVER_VARIABLE = "SIMILIS_TEST_QDRANT"
LINGERING = ("--linger-seconds", "3600")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def qdrant_address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, int]]:
    """Host and gRPC port of a Qdrant server, shared by all functional tests."""
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        host, _, port = given.rpartition(":")
        yield host, int(port)
        return
    async with running_qdrant(tmp_path_factory.mktemp("qdrant")) as server:
        yield server.host, server.grpc_port


@pytest.fixture
async def client(qdrant_address: tuple[str, int]) -> AsyncIterator[AsyncQdrantClient]:
    """A client of the server under test."""
    client = qdrant_client(*qdrant_address)
    yield client
    await client.close()


@pytest.fixture
async def name(client: AsyncQdrantClient) -> AsyncIterator[str]:
    """A collection's name that is not in use; the collection is deleted afterwards."""
    name = f"similis-test-{uuid4().hex[:12]}"
    yield name
    await client.delete_collection(name)


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[QdrantProcess]:
    """A one-machine Qdrant of the test's own, with its data in `tmp_path / "data"`."""
    async with running_qdrant(tmp_path / "data", "--linger-seconds", "0.5") as server:
        yield server


@pytest.fixture
async def lingering(tmp_path: Path) -> AsyncIterator[QdrantProcess]:
    """As `own`, but what was written stays with its writer: the test decides what becomes of that, and not the time."""
    async with running_qdrant(tmp_path / "data", *LINGERING) as server:
        yield server


needs_one_machine_server = pytest.mark.skipif(
    SERVER_VARIABLE in os.environ, reason="a full Qdrant server supports or accepts what is refused here"
)
