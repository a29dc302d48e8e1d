"""What searches cost, as ratios within one run and as numbers of calls. `make bench` measures it exactly."""

import base64
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from catalog.images import Images
from catalog.indexes import Index
from catalog.postgres.database import Connection, Database
from catalog.vectors.client import Qdrant
from gateway.app import gateway
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.api import Answer, Api, api_client
from tests.integration.gateway.conftest import Parts, settings_for
from tests.integration.gateway.indexing import Indexer, content, picture

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUNDS = 15
COLLECTIONS = 8
IMAGE = picture(1)

Work = Callable[[], Awaitable[Any]]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def serving(embedder: RunningEmbedder, parts: Parts, tmp_path_factory: Any) -> AsyncIterator[Api]:
    settings = settings_for(parts, {"embedder_address": embedder.target}, tmp_path_factory.mktemp("spool"))
    async with gateway(settings) as running, api_client(f"http://{running.host}:{running.port}", parts.key) as api:
        yield api


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def indexes(serving: Api, indexer: Indexer) -> list[Index]:
    found = []
    for number in range(COLLECTIONS):
        identifier = await serving.create(f"costs {number}")
        (await serving.upload(identifier, content(range(20)))).pushed()
        found.append(await indexer.index(identifier))
    return found


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the calls of the databases."""
    counted: Counter[str] = Counter()
    connection, call = Database.connection, Qdrant._call

    @asynccontextmanager
    async def counted_connection(self: Database) -> AsyncIterator[Connection]:
        counted["postgres"] += 1
        async with connection(self) as borrowed:
            yield borrowed

    async def counted_call(self: Qdrant, *arguments: Any, **options: Any) -> Any:
        counted["qdrant"] += 1
        return await call(self, *arguments, **options)

    monkeypatch.setattr(Database, "connection", counted_connection)
    monkeypatch.setattr(Qdrant, "_call", counted_call)
    return counted


async def fewest(calls: Counter[str], work: Work) -> dict[str, int]:
    """Return the fewest calls of each database that work needs. Checks in the background make some, too."""
    numbers = []
    for _ in range(5):
        calls.clear()
        await work()
        numbers.append(Counter(calls))
    return {name: min(found[name] for found in numbers) for name in ("postgres", "qdrant")}


async def medians(*works: Work, clock: Callable[[], float]) -> list[float]:
    """Return the median duration of each work, done in turns."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for found, work in zip(times, works, strict=True):
            began = clock()
            await work()
            found.append(clock() - began)
    return [statistics.median(found) for found in times]


def searching(api: Api, path: str, **fields: Any) -> Work:
    """Return a search by the picture."""
    body = {"image": base64.b64encode(IMAGE).decode(), **fields}

    async def search() -> None:
        _ok(await api.post(path, body, key=None))

    return search


async def similar(api: Api, index: Index, database: Database) -> Work:
    """Return a search by the id of an image."""
    [image] = await Images(database).page(index.collection_id, index.revision, after=0, limit=1)
    path = f"/api/collection/{index.collection_id}/similar?image_id={image.id}"

    async def search() -> None:
        _ok(await api.get(path))

    return search


def _ok(answer: Answer) -> None:
    assert answer.status == 200, answer.body
    assert answer.json["results"]


async def test_a_search_calls_each_database_as_seldom_as_it_can(
    serving: Api, indexes: list[Index], database: Database, calls: Counter[str]
) -> None:
    first = indexes[0]
    by_image = searching(serving, f"/api/collection/{first.collection_id}/search")
    assert await fewest(calls, by_image) == {"postgres": 1, "qdrant": 1}
    assert await fewest(calls, await similar(serving, first, database)) == {"postgres": 1, "qdrant": 2}
    # Which indexes are live, and all rows.
    across = searching(serving, "/api/search", collections=[index.collection_id for index in indexes])
    assert await fewest(calls, across) == {"postgres": 2, "qdrant": COLLECTIONS}


async def test_a_search_takes_little_longer_than_embedding_its_image(
    serving: Api, indexes: list[Index], indexer: Indexer
) -> None:
    async def embed() -> None:
        await indexer.embedder.embed(IMAGE, indexer.backbone)

    search = searching(serving, f"/api/collection/{indexes[0].collection_id}/search")
    embedding, searched = await medians(embed, search, clock=time.perf_counter)
    assert searched < 4 * embedding


async def test_a_search_by_id_takes_a_few_times_the_cpu_of_the_smallest_request(
    serving: Api, indexes: list[Index], database: Database
) -> None:
    async def check_health() -> None:
        assert (await serving.get("/healthz")).status == 200

    by_id = await similar(serving, indexes[0], database)
    smallest, searched = await medians(check_health, by_id, clock=time.process_time)
    assert searched < 12 * smallest


async def test_a_search_of_several_collections_takes_far_less_cpu_than_as_many_searches(
    serving: Api, indexes: list[Index]
) -> None:
    named = [index.collection_id for index in indexes]
    one = searching(serving, "/api/search", collections=named[:1])
    all_of_them = searching(serving, "/api/search", collections=named)
    single, several = await medians(one, all_of_them, clock=time.process_time)
    assert several < COLLECTIONS / 2 * single
