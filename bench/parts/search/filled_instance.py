"""Fill a running instance with collections, and publish an index of each as a finetune does, without downloads."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from bench.parts.search.vectors import TUNED_DIMENSION, SyntheticRows
from catalog.adapters import Adapters
from catalog.images import Images
from catalog.indexes import Index, Indexes
from catalog.jobs import Job, Jobs
from catalog.postgres.database import Database
from catalog.vectors.client import QdrantAddress, open_qdrant
from catalog.vectors.false_matches import FALSE_MATCH_RATES
from catalog.vectors.generations import Generations
from catalog.vectors.projection import Matrix
from demo.rest_client import RestClient
from gateway.upstreams.embedder import QueryEmbedder
from servicekit.grpc.channel import open_channel
from servicekit.telemetry.metrics import RpcClientMetrics
from standalone.instance.addresses import Addresses
from standalone.instance.data_directory import DataDirectory
from standalone.instance.run_directory import run_directory_of
from standalone.postgres.server import database_url

UPSERT = 1_000
PREFIX = "similis"
IMAGES_OF_ENTRY = 4
# On a busy machine, the embedder may not answer in time.
EMBEDDER_ATTEMPTS = 20

# A job that the instance's own trainer never sees waiting.
CLAIMED = """
INSERT INTO jobs (collection_id, revision, state, phase, token, worker, lease_until)
SELECT id, content_revision, 'running', 'indexing', 1, 'bench', now() + interval '1 day' FROM collections WHERE id = $1
RETURNING id
"""

QUALITY = json.dumps(
    {
        "false_match_scores": np.linspace(0.98, 0.3, len(FALSE_MATCH_RATES)).tolist(),
        "false_match_prominences": np.linspace(1.8, 0.1, len(FALSE_MATCH_RATES)).tolist(),
    }
)
QUANTILES = np.linspace(-0.2, 0.9, 1001).tolist()


@dataclass(frozen=True)
class Filled:
    """A searchable collection. ids: of its images, in the order of its rows."""

    collection: int
    ids: Sequence[int]


class Filler:
    """Fills collections of an instance, which is only reached on its machine."""

    def __init__(
        self, database: Database, generations: Generations, embedder: QueryEmbedder, said: Callable[[int], None]
    ) -> None:
        """said: gets the number of rows of the current collection that are written, after each block."""
        self._said = said
        self._database = database
        self._generations = generations
        self._embedder = embedder

    async def embedded(self, images: Sequence[bytes]) -> Matrix:
        """Return the backbone's vectors [n, dim] of images."""
        backbone = await self._backbone()
        return np.stack([await self._embedder.embed(image, backbone) for image in images])

    async def fill(self, client: RestClient, name: str, rows: SyntheticRows, count: int) -> Filled:
        """Create a collection of `count` rows, and publish an index of it."""
        collection = client.create(name)
        urls = (f"https://images.example.org/{number}.jpg" for number in range(count))
        lines = (f"{url},https://repository.example.org/{place // IMAGES_OF_ENTRY}" for place, url in enumerate(urls))
        client.upload(collection, "\n".join(lines))
        filled = await self.filled(collection)
        await self._publish(collection, rows, filled.ids)
        return filled

    async def filled(self, collection: int) -> Filled:
        """Return a collection that was filled before."""
        ids: list[int] = []
        images = Images(self._database)
        while page := await images.page(collection, 1, after=ids[-1] if ids else 0, limit=50_000):
            ids += [image.id for image in page]
        return Filled(collection, ids)

    async def _publish(self, collection: int, rows: SyntheticRows, ids: Sequence[int]) -> None:
        jobs, indexes = Jobs(self._database), Indexes(self._database, PREFIX)
        job = await self._claimed(jobs, collection)
        index = await indexes.begin(job, await self._backbone())
        adapter = await Adapters(self._database).add(collection, index.backbone, rows.adapter.to_bytes(), None)
        await indexes.set_adapter(index, adapter, TUNED_DIMENSION, QUALITY, QUANTILES)
        await self._write(index, rows, ids)
        await jobs.publish(job, index.id, len(ids))

    async def _write(self, index: Index, rows: SyntheticRows, ids: Sequence[int]) -> None:
        name = index.qdrant_collection
        await self._generations.create(name, TUNED_DIMENSION)
        for first, vectors in rows.tuned():
            for start in range(0, len(vectors), UPSERT):
                part = vectors[start : start + UPSERT]
                await self._generations.put(name, ids[first + start : first + start + len(part)], part)
            self._said(first + len(vectors))
        await self._generations.wait_until_indexed(name, len(ids))

    async def _claimed(self, jobs: Jobs, collection: int) -> Job:
        async with self._database.connection() as connection:
            identifier = await connection.fetchval(CLAIMED, collection)
        return await jobs.get(identifier)

    async def _backbone(self) -> str:
        for _ in range(EMBEDDER_ATTEMPTS):
            checksum = await self._embedder.served_backbone()
            if checksum is not None:
                return checksum
            await asyncio.sleep(1.0)
        raise SystemExit("the embedder does not respond")


def _nothing(_: int) -> None:
    pass


async def filled_collections(
    data: Path,
    client: RestClient,
    images: Sequence[bytes],
    sizes: Mapping[str, int],
    said: Callable[[int], None] = _nothing,
) -> dict[str, Filled]:
    """Fill the collections that the instance on `data` lacks, and return all of them. Each begins with the images.

    sizes: the number of rows of each, by name. said: gets the number of rows of a collection that are written.
    """
    filled: dict[str, Filled] = {}
    async with filler(data, said) as fill:
        real = await fill.embedded(images)
        largest = SyntheticRows(real, max(sizes.values()))
        for name, count in sizes.items():
            named = f"{name}-{count}"
            found = client.find(named)
            if found and client.info(found)["last_finetuned"] is None:
                raise SystemExit(
                    f"the collection {named!r} was not filled to its end. Delete {data}, or name another folder"
                )
            rows = SyntheticRows(real, count, largest.adapter)
            filled[name] = await (fill.filled(found) if found else fill.fill(client, named, rows, count))
    return filled


async def save_vectors(data: Path, images: Sequence[bytes], filled: Filled, file: Path, largest: int) -> None:
    """Write the vectors of a collection to a file, for the plain alternative. largest: rows of the largest one."""
    async with filler(data) as fill:
        real = await fill.embedded(images)
    adapter = SyntheticRows(real, largest).adapter
    rows = SyntheticRows(real, len(filled.ids), adapter)
    tuned = np.empty((len(filled.ids), TUNED_DIMENSION), np.float32)
    for start, block in rows.tuned():
        tuned[start : start + len(block)] = block
    np.savez(file, matrix=adapter.matrix, tuned=tuned, ids=filled.ids)


@asynccontextmanager
async def filler(data: Path, said: Callable[[int], None] = _nothing) -> AsyncIterator[Filler]:
    """Connect to the databases and the embedder of the instance that runs on `data`."""
    sockets = Addresses("", 0, run_directory_of(DataDirectory(data)))
    async with (
        Database.open(database_url(sockets.run_directory)) as database,
        open_qdrant(QdrantAddress(f"unix:{sockets.qdrant}")) as qdrant,
        open_channel(f"unix:{sockets.embedder}") as channel,
    ):
        embedder = QueryEmbedder(channel, RpcClientMetrics(CollectorRegistry()))
        yield Filler(database, Generations(qdrant), embedder, said)
