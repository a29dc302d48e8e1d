"""The Qdrant server under test: the one-machine process, or a server that the environment names.

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
    """Host and gRPC port of a Qdrant server that all functional tests share."""
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        host, _, port = given.rpartition(":")
        yield host, int(port)
        return
    async with running_qdrant(tmp_path_factory.mktemp("qdrant")) as server:
        yield server.host, server.grpc_port


@pytest.fixture
async def client(qdrant_address: tuple[str, int]) -> AsyncIterator[AsyncQdrantClient]:
    """A client of the shared server."""
    client = qdrant_client(*qdrant_address)
    yield client
    await client.close()


@pytest.fixture
async def name(client: AsyncQdrantClient) -> AsyncIterator[str]:
    """An unused name for a collection, which is deleted after the test."""
    name = f"similis-test-{uuid4().hex[:12]}"
    yield name
    await client.delete_collection(name)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[QdrantProcess]:
    """A one-machine Qdrant for one test. Its data is in `tmp_path / "data"`, its writers end soon."""
    async with running_qdrant(tmp_path / "data", "--linger-seconds", "0.5") as server:
        yield server


@pytest.fixture
async def own(server: QdrantProcess) -> AsyncIterator[AsyncQdrantClient]:
    """A client of `server`."""
    client = server.client()
    yield client
    await client.close()


@pytest.fixture
async def lingering_server(tmp_path: Path) -> AsyncIterator[QdrantProcess]:
    """Like `server`, but a collection stays with its writer, so that no test depends on time."""
    async with running_qdrant(tmp_path / "data", *LINGERING) as server:
        yield server


@pytest.fixture
async def writing(lingering_server: QdrantProcess) -> AsyncIterator[AsyncQdrantClient]:
    """A client of `lingering_server`."""
    client = lingering_server.client()
    yield client
    await client.close()


needs_one_machine_server = pytest.mark.skipif(
    SERVER_VARIABLE in os.environ, reason="only the one-machine server promises this"
)
