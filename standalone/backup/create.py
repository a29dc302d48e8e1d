"""`similis backup`: copies an instance into a folder while it works."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from catalog.postgres.advisory_lock import JANITOR_LOCK, try_lock
from catalog.postgres.database import Database
from catalog.vectors.collection_file import write_collection
from catalog.vectors.names import VectorCollection, VectorCollections
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError
from servicekit.quantities import counted
from servicekit.version import VERSION
from standalone.backup.archive import ADMIN_KEY, DATABASE, VECTORS, Manifest, digests, write_durably, write_manifest
from standalone.backup.database_dump import dump_database
from standalone.backup.stores import Stores, instance_stores
from standalone.schema import check_schema

PREFIX = "similis"
JANITOR_SECONDS = 60.0
RETRY_SECONDS = 0.5

SCHEMA = "SELECT max(version) FROM schema_migrations"
LIVE = """
SELECT i.qdrant_collection FROM collections c JOIN indexes i ON i.id = c.live_index
WHERE c.deleting_at IS NULL AND i.lost_at IS NULL
"""
# The collections, with the greatest id of an image that the snapshot knows. Ids are given out later to other images.
COLLECTIONS = """
SELECT c.id, (SELECT coalesce(max(id), 0) FROM images m WHERE m.collection_id = c.id) AS last_image,
       coalesce(t.row_count, 0) AS images
FROM collections c LEFT JOIN contents t ON t.collection_id = c.id AND t.revision = c.content_revision
WHERE c.deleting_at IS NULL
"""


@dataclass(frozen=True)
class Snapshot:
    """The catalog at one moment. name: by which other connections can read it.

    live: the Qdrant collections of the live indexes. last_images: the greatest id of an image, by collection.
    """

    name: str
    schema: int
    live: frozenset[str]
    last_images: dict[int, int]
    images: int


async def create_backup(root: Path, target: Path) -> None:
    """Write a backup of the instance in `root` to the new folder `target`. Raises StartupError.

    Everything that was acknowledged before the call is in it.
    """
    with _new_folder(target) as folder:
        try:
            async with instance_stores(root) as stores:
                await check_schema(stores.database_url)
                await _write(stores, folder)
        except ServiceError as error:
            raise StartupError(f"the backup failed: {error.message}") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StartupError(f"the backup failed: {error}") from error
    sys.stdout.write(f"{target}\n")


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yield a folder beside `target` that gets its name once it is complete. Nothing is left if the backup fails."""
    partial = target.with_name(f"{target.name}.partial")
    if target.exists():
        raise StartupError(f"{target} already exists. Choose a new folder for the backup")
    try:
        partial.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise StartupError(f"{partial} exists: a backup is running, or was killed. Remove it if none runs") from None
    except OSError as error:
        raise StartupError(f"cannot create {partial}: {error.strerror}") from error
    try:
        yield partial
        partial.rename(target)
        _sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


async def _write(stores: Stores, folder: Path) -> None:
    async with Database.open(stores.database_url, max_connections=1) as database, _janitor_waits(database):
        async with _snapshot(stores.database_url) as snapshot:
            found = f"{counted(len(snapshot.last_images), 'collection')}, {counted(snapshot.images, 'image')}"
            _say(f"{found}: writing the database")
            await dump_database(stores.database_url, snapshot.name, folder / DATABASE)
        if stores.data.admin_key.exists():
            write_durably(folder / ADMIN_KEY, stores.data.admin_key.read_bytes())
        vectors = await _write_vectors(stores, snapshot, folder)
    write_manifest(
        folder,
        Manifest(
            version=VERSION,
            schema=snapshot.schema,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            collections=len(snapshot.last_images),
            images=snapshot.images,
            vectors=vectors,
            digests=digests(folder),
        ),
    )
    _sync_folder(folder)


async def _write_vectors(stores: Stores, snapshot: Snapshot, folder: Path) -> dict[str, int]:
    (folder / VECTORS).mkdir(mode=0o700)
    written: dict[str, int] = {}
    needed = [found for found in await VectorCollections(stores.qdrant, PREFIX).list() if _is_needed(found, snapshot)]
    missing = snapshot.live - {found.name for found in needed}
    if missing:
        raise StartupError(f"Qdrant has lost an index ({min(missing)}). Finetune its collection, then try again")
    for number, found in enumerate(needed, start=1):
        _say(f"writing vectors, {number} of {len(needed)}: {found.name}")
        last = None if found.backbone is None else snapshot.last_images[found.collection_id]
        with (folder / VECTORS / found.name).open("xb") as file:
            written[found.name] = await write_collection(stores.qdrant, found.name, file, last=last)
            file.flush()
            os.fsync(file.fileno())
    return written


def _is_needed(found: VectorCollection, snapshot: Snapshot) -> bool:
    if found.backbone is None:
        return found.name in snapshot.live
    return found.collection_id in snapshot.last_images


@asynccontextmanager
async def _janitor_waits(database: Database) -> AsyncIterator[None]:
    """Keep the janitor from removing vectors while entered. Raises StartupError if it does not come to an end."""
    deadline = asyncio.get_running_loop().time() + JANITOR_SECONDS
    while True:
        async with try_lock(database, JANITOR_LOCK) as acquired:
            if acquired:
                yield
                return
        if asyncio.get_running_loop().time() > deadline:
            raise StartupError(
                "the trainer's janitor, or another backup, has been running for a minute. Try again later"
            )
        await asyncio.sleep(RETRY_SECONDS)


@asynccontextmanager
async def _snapshot(url: str) -> AsyncIterator[Snapshot]:
    """Hold a snapshot of the catalog while entered."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            name = await connection.fetchval("SELECT pg_export_snapshot()")
            rows = await connection.fetch(COLLECTIONS)
            yield Snapshot(
                name=name,
                schema=await connection.fetchval(SCHEMA),
                live=frozenset(row["qdrant_collection"] for row in await connection.fetch(LIVE)),
                last_images={row["id"]: row["last_image"] for row in rows},
                images=sum(row["images"] for row in rows),
            )
    finally:
        await connection.close()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _say(text: str) -> None:
    sys.stderr.write(f"similis: {text}\n")
