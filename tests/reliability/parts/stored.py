"""What an instance has stored, read past its services: for traces that a deletion or a kill left."""

import asyncio
from pathlib import Path

import asyncpg

from standalone.instance.data_directory import DataDirectory
from standalone.instance.run_directory import run_directory_of
from standalone.postgres.server import database_url

TABLES = """
SELECT table_name FROM information_schema.columns
WHERE table_schema = 'public' AND column_name = 'collection_id' AND table_name <> 'migrated_collections'
"""


class Stored:
    """The stores of a running instance. folder: its data directory."""

    def __init__(self, folder: Path) -> None:
        self._data = DataDirectory(folder)

    @property
    def database_url(self) -> str:
        """The URL of its database."""
        return database_url(run_directory_of(self._data))

    @property
    def sockets(self) -> Path:
        """The directory of its sockets."""
        return run_directory_of(self._data)

    def rows(self, statement: str, *arguments: object) -> list[tuple[object, ...]]:
        """Return the rows of a query."""

        async def ask() -> list[tuple[object, ...]]:
            connection = await asyncpg.connect(self.database_url)
            try:
                return [tuple(row) for row in await connection.fetch(statement, *arguments)]
            finally:
                await connection.close()

        return asyncio.run(ask())

    def vectors(self) -> set[str]:
        """Return the names of all collections in Qdrant."""
        return {found.name for found in (self._data.qdrant / "collections").iterdir()}

    def discarded_vectors(self) -> list[str]:
        """Return the half-created and half-deleted collections in Qdrant."""
        return [found.name for name in ("staging", "trash") for found in (self._data.qdrant / name).iterdir()]

    def uploads(self) -> list[str]:
        """Return the folders of uploads that are under way, or were left by gateways that died."""
        return [found.name for gateway in self._data.spool.iterdir() for found in gateway.glob("tmp*")]

    def traces(self, collection: int) -> list[str]:
        """Return the tables with rows of a collection, and its collections in Qdrant."""
        tables = [str(table) for (table,) in self.rows(TABLES)]
        asked = [f"SELECT '{table}' FROM {table} WHERE collection_id = {collection}" for table in tables]  # noqa: S608
        asked.append(f"SELECT 'collections' FROM collections WHERE id = {collection}")  # noqa: S608
        found = {str(table) for (table,) in self.rows(" UNION ".join(asked))}
        return [*sorted(found), *(name for name in self.vectors() if f"-c{collection}-" in name)]
