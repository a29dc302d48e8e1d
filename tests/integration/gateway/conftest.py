"""A gateway over real HTTP, with a real Postgres, Qdrant and embedder."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from catalog.keys.api_keys import ApiKeys
from catalog.postgres.database import Database
from catalog.vectors.client import QdrantAddress, open_qdrant
from catalog.vectors.generations import Generations
from gateway.app import gateway
from gateway.config import GatewaySettings
from gateway.upstreams.embedder import QueryEmbedder
from servicekit.grpc.channel import open_channel
from servicekit.telemetry.metrics import RpcClientMetrics
from tests.integration.embedder_process import RunningEmbedder, running_embedder
from tests.integration.gateway.api import Api, api_client
from tests.integration.gateway.indexing import Indexer
from tests.integration.gateway.parts import running_postgres
from tests.integration.qdrant_process import QdrantProcess, running_qdrant

# Nothing listens on port 1.
UNREACHABLE = "127.0.0.1:1"


@dataclass(frozen=True)
class Parts:
    """The addresses of the parts that all tests share, and a valid key."""

    database_url: str
    qdrant_address: str
    key: str


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with running_postgres(tmp_path_factory.mktemp("gateway") / "data") as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def qdrant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[QdrantProcess]:
    async with running_qdrant(tmp_path_factory.mktemp("gateway-qdrant")) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with Database.open(postgres_url) as database:
        yield database


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def parts(postgres_url: str, qdrant: QdrantProcess, database: Database) -> Parts:
    key = await ApiKeys(database).create("tests")
    return Parts(postgres_url, f"{qdrant.host}:{qdrant.grpc_port}", key)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedder() -> AsyncIterator[RunningEmbedder]:
    async with running_embedder(
        workers="1", max_image_bytes=str(2 * 1024 * 1024), max_image_pixels="21000000"
    ) as embedder:
        yield embedder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def indexer(database: Database, qdrant: QdrantProcess, embedder: RunningEmbedder) -> AsyncIterator[Indexer]:
    async with open_qdrant(QdrantAddress(qdrant.address)) as client, open_channel(embedder.target) as channel:
        query_embedder = QueryEmbedder(channel, RpcClientMetrics(CollectorRegistry()))
        yield Indexer(database, Generations(client), query_embedder, embedder.description.checksum)


Launch = Callable[..., Awaitable[Api]]


@pytest_asyncio.fixture(loop_scope="session")
async def launch(parts: Parts, tmp_path: Any) -> AsyncIterator[Launch]:
    """Return a function that starts a gateway with the given settings."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Api:
            running = await stack.enter_async_context(gateway(settings_for(parts, settings, tmp_path)))
            url = f"http://{running.host}:{running.port}"
            return await stack.enter_async_context(api_client(url, parts.key))

        yield start


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def api(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """Run a gateway with default settings for all tests that need no others."""
    settings = settings_for(parts, {}, tmp_path_factory.mktemp("spool"))
    async with gateway(settings) as running, api_client(f"http://{running.host}:{running.port}", parts.key) as api:
        yield api


def settings_for(parts: Parts, given: dict[str, Any], spool: Any) -> GatewaySettings:
    """Return settings of a gateway that uses the shared parts."""
    defaults = {
        "port": 0,
        "database_url": parts.database_url,
        "qdrant_address": parts.qdrant_address,
        "embedder_address": UNREACHABLE,
        "trainer_address": UNREACHABLE,
        "shutdown_grace_seconds": 2.0,
        "spool_directory": spool,
        # Tests compare answers to the last digit. `search/test_held_vectors.py` has vectors in memory.
        "held_vector_bytes": 0,
    }
    return GatewaySettings(**{**defaults, **given})
