"""`similis backup`: copies an instance, or what is on servers, into a folder while it works."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from catalog.postgres.advisory_lock import JANITOR_LOCK
from catalog.postgres.migrate import ADVISORY_LOCK
from catalog.vectors.collection_file import write_collection
from catalog.vectors.names import VectorCollection, VectorCollections
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError
from servicekit.quantities import counted
from servicekit.version import VERSION
from standalone.backup.archive import (
    ADMIN_KEY,
    DATABASE,
    VECTORS,
    Manifest,
    check_files,
    digests,
    read_manifest,
    write_durably,
    write_manifest,
)
from standalone.backup.database import Snapshot, locked_session, write_snapshot
from standalone.backup.stores import Stores
from standalone.schema import check_schema

PARTIAL = ".partial"


async def create_backup(opening: AbstractAsyncContextManager[Stores], target: Path) -> None:
    """Write a backup of the databases that `opening` opens to the new folder `target`. Raises StartupError.

    Everything that was acknowledged before the call is in it.
    """
    with _new_folder(target) as folder:
        try:
            async with opening as stores:
                # Before the database is written, which can take long.
                await VectorCollections(stores.qdrant, stores.prefix).list()
                await check_schema(stores.database_url)
                await _write(stores, folder)
        except ServiceError as error:
            raise StartupError(f"the backup failed: {error.message}") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StartupError(f"the backup failed: {error}") from error
    sys.stdout.write(f"{target}\n")
    sys.stdout.flush()


def check_backup(folder: Path) -> None:
    """Print what a backup holds. Raises StartupError if it is not complete and unchanged."""
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    content = f"{counted(manifest.collections, 'collection')}, {counted(manifest.images, 'image')}"
    made = f"made at {manifest.created_at} by Similis {manifest.version}"
    sys.stdout.write(f"{folder}: complete and unchanged: {content}, {made}\n")


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yield a folder beside `target` that gets its name once it is complete. Nothing is left if the backup fails."""
    partial = target.with_name(f"{target.name}{PARTIAL}")
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
    # The trainer's janitor would remove vectors meanwhile.
    async with locked_session(stores.database_url, JANITOR_LOCK):
        _say("writing the database")
        (folder / DATABASE).mkdir(mode=0o700)
        async with locked_session(stores.database_url, ADVISORY_LOCK) as connection:
            snapshot = await write_snapshot(connection, folder / DATABASE)
        _say(f"{counted(len(snapshot.last_images), 'collection')}, {counted(snapshot.images, 'image')}")
        if stores.admin_key is not None and stores.admin_key.exists():
            write_durably(folder / ADMIN_KEY, stores.admin_key.read_bytes())
        vectors = await _write_vectors(stores, snapshot, folder)
    write_manifest(
        folder,
        Manifest(
            version=VERSION,
            schema=snapshot.schema,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            prefix=stores.prefix,
            collections=len(snapshot.last_images),
            images=snapshot.images,
            vectors=vectors,
            digests=digests(folder),
        ),
    )
    for written in (folder / DATABASE, folder / VECTORS, folder):
        _sync_folder(written)


async def _write_vectors(stores: Stores, snapshot: Snapshot, folder: Path) -> dict[str, int]:
    (folder / VECTORS).mkdir(mode=0o700)
    written: dict[str, int] = {}
    listed = await VectorCollections(stores.qdrant, stores.prefix).list()
    needed = [found for found in listed if _is_needed(found, snapshot)]
    missing = snapshot.live.keys() - {found.name for found in needed}
    if missing:
        raise StartupError(f"Qdrant has lost an index ({min(missing)}). Finetune its collection, then try again")
    for number, found in enumerate(needed, start=1):
        _say(f"writing vectors, {number} of {len(needed)}: {found.name}")
        last = None if found.backbone is None else snapshot.last_images[found.collection_id]
        with (folder / VECTORS / found.name).open("xb") as file:
            written[found.name] = await write_collection(stores.qdrant, found.name, file, last=last)
            file.flush()
            os.fsync(file.fileno())
    for name, points in snapshot.live.items():
        if written[name] < points:
            raise StartupError(
                f"Qdrant has lost vectors of an index ({name} has {written[name]} of {points}). Finetune its "
                "collection with force=true, then try again"
            )
    return written


def _is_needed(found: VectorCollection, snapshot: Snapshot) -> bool:
    if found.backbone is None:
        return found.name in snapshot.live
    return found.collection_id in snapshot.last_images


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _say(text: str) -> None:
    sys.stderr.write(f"similis: {text}\n")
