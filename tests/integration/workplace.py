"""The catalog of one test, on a database and a Qdrant."""

import csv
import hashlib
import io
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from catalog.adapters import Adapters
from catalog.collections import Collections
from catalog.contents import Contents, Revision, StagedContent
from catalog.images import Images
from catalog.indexes import Indexes
from catalog.jobs import Job, Jobs
from catalog.postgres.database import Database
from catalog.vectors.base_store import BaseStores
from catalog.vectors.client import Qdrant, QdrantAddress, open_qdrant
from catalog.vectors.generations import Generations
from catalog.vectors.names import VectorCollections

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Workplace:
    """The parts of the catalog, and shortcuts to fill it."""

    database_url: str
    qdrant_address: str
    prefix: str
    folder: Path
    database: Database
    client: Qdrant

    @property
    def collections(self) -> Collections:
        return Collections(self.database)

    @property
    def contents(self) -> Contents:
        return Contents(self.database)

    @property
    def images(self) -> Images:
        return Images(self.database)

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.database)

    @property
    def indexes(self) -> Indexes:
        return Indexes(self.database, self.prefix)

    @property
    def adapters(self) -> Adapters:
        return Adapters(self.database)

    @property
    def generations(self) -> Generations:
        return Generations(self.client)

    @property
    def base_stores(self) -> BaseStores:
        return BaseStores(self.client, self.prefix)

    @property
    def vectors(self) -> VectorCollections:
        return VectorCollections(self.client, self.prefix)

    def staged(self, rows: Sequence[tuple[str, str]]) -> StagedContent:
        """Write these rows to a file, as a validated upload."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        path = self.folder / f"content-{next(_numbers)}.csv"
        path.write_text(text.getvalue(), encoding="utf-8")
        return StagedContent(path, path, hashlib.sha256(path.read_bytes()).digest(), len(rows))

    async def fill(self, collection_id: int, urls: Sequence[str]) -> Revision:
        """Upload a content with these images, each with its own repository URL."""
        return await self.contents.replace(collection_id, self.staged([(url, f"{url}#entry") for url in urls]))

    async def collection(self, urls: Sequence[str]) -> int:
        """Create a collection with these images."""
        identifier = await self.collections.create("coins")
        await self.fill(identifier, urls)
        return identifier

    async def finetune(self, collection_id: int, *, force: bool = False) -> Job:
        """Queue a new job."""
        job, new = await self.jobs.enqueue(collection_id, backbone=None, force=force)
        assert job is not None
        assert new
        return job

    async def rows(self, statement: str, *arguments: object) -> list[tuple[object, ...]]:
        """Run a statement and return its rows."""
        async with self.database.connection() as connection:
            return [tuple(row) for row in await connection.fetch(statement, *arguments)]


@asynccontextmanager
async def open_workplace(database_url: str, qdrant_address: str, folder: Path) -> AsyncIterator[Workplace]:
    """Open a workplace while entered. Its Qdrant collections contain a unique prefix, and are dropped afterwards."""
    prefix = f"similis-test-{uuid4().hex[:12]}"
    async with (
        Database.open(database_url) as database,
        open_qdrant(QdrantAddress(qdrant_address)) as client,
    ):
        place = Workplace(database_url, qdrant_address, prefix, folder, database, client)
        yield place
        # Tests also create some whose names are not ours.
        for name in await client.collection_names():
            if prefix in name:
                await client.delete_collection(name)
