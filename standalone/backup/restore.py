"""`similis restore`: makes a data directory from a backup, or fills empty servers."""

import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg
from google.protobuf.message import DecodeError

from catalog.postgres.migrate import ADVISORY_LOCK, migrations
from catalog.settings import StoreSettings
from catalog.vectors.client import qdrant_errors
from catalog.vectors.collection_file import read_collection
from catalog.vectors.names import VectorCollections
from catalog.vectors.settling import wait_until_settled
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError
from servicekit.quantities import counted
from standalone.backup.archive import ADMIN_KEY, DATABASE, VECTORS, Manifest, check_files, read_manifest, write_durably
from standalone.backup.database import Connection, check_empty, fill, live_points, locked_session
from standalone.backup.stores import Stores, running_stores, server_stores
from standalone.instance.data_directory import MARK, DataDirectory, open_data_directory


async def restore_backup(source: Path, root: Path, *, prefix: str, min_free_bytes: int) -> None:
    """Make the new data directory `root` from the backup in `source`. Raises StartupError, and leaves nothing then."""
    manifest = _manifest(source, prefix)
    with _new_directory(root) as partial, _errors():
        _check(source, manifest)
        async with open_data_directory(partial, min_free_bytes=min_free_bytes) as data:
            _copy_admin_key(source, data)
            async with running_stores(data, prefix) as stores:
                await _fill(stores, source, manifest)
    _say_restored(manifest)
    _say(f"to start the instance: similis up --data {root}")


async def restore_servers(source: Path, settings: StoreSettings) -> None:
    """Fill the empty servers that the settings name from the backup in `source`. Raises StartupError.

    If anything fails, the servers are as empty as before.
    """
    manifest = _manifest(source, settings.vector_prefix)
    with _errors():
        async with server_stores(settings) as stores:
            # Both are asked before the files are read, which can take long.
            await _check_no_vectors(stores)
            async with locked_session(stores.database_url, ADVISORY_LOCK) as connection:
                await check_empty(connection)
            _check(source, manifest)
            await _fill(stores, source, manifest)
    _say_restored(manifest)
    if (source / ADMIN_KEY).exists():
        _say("the first API key of the instance is valid here too")
    _say("start the trainers, embedders and gateways now; 'similis check trainer' tries what they need")


def _manifest(source: Path, prefix: str) -> Manifest:
    """Return the manifest of a backup that this release can restore. Raises StartupError."""
    manifest = read_manifest(source)
    newest = migrations()[-1].version
    if manifest.schema > newest:
        raise StartupError(
            f"the backup was made by Similis {manifest.version} (schema version {manifest.schema}; this release knows "
            f"{newest}). Install that version or a newer one"
        )
    if manifest.prefix != prefix:
        raise StartupError(
            f"the names in the backup begin with {manifest.prefix}, and SIMILIS_VECTOR_PREFIX is {prefix}. Set it to "
            f"{manifest.prefix}, for the services too"
        )
    return manifest


def _check(source: Path, manifest: Manifest) -> None:
    _say(f"checking the backup of {manifest.created_at}")
    check_files(source, manifest)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        raise StartupError(f"the restore failed: {error.message}") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartupError(f"the restore failed: {error}") from error


@contextmanager
def _new_directory(root: Path) -> Iterator[Path]:
    """Yield a directory beside `root` that gets its name once it is complete. Nothing is left if the restore fails."""
    partial = root.with_name(f"{root.name}.partial")
    if root.exists() and any(root.iterdir()):
        raise StartupError(f"{root} is not empty. Choose a new directory with --data")
    if partial.exists():
        if any(partial.iterdir()) and not (partial / MARK).exists():
            raise StartupError(f"{partial} exists and is not from a restore. Move or remove it")
        # Left by a restore that was killed.
        shutil.rmtree(partial)
    try:
        yield partial
        if root.exists():
            root.rmdir()
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy_admin_key(source: Path, data: DataDirectory) -> None:
    if (source / ADMIN_KEY).exists():
        write_durably(data.admin_key, (source / ADMIN_KEY).read_bytes())


async def _fill(stores: Stores, source: Path, manifest: Manifest) -> None:
    """Fill empty stores: first the vectors, then, in one transaction, the database that names them."""
    async with (
        locked_session(stores.database_url, ADVISORY_LOCK) as connection,
        _removed_on_failure(stores, manifest),
    ):
        await check_empty(connection)
        await _fill_qdrant(stores, source, manifest)
        _say("restoring the database")
        async with connection.transaction():
            try:
                left_out = await fill(connection, source / DATABASE, manifest.schema)
            except ValueError as error:
                raise StartupError(f"the backup {source} is damaged: {error}") from error
            await _check_fit(connection, stores)
    for name in left_out:
        _say(f"the table {name} is not part of Similis, so it was left out")


async def _check_no_vectors(stores: Stores) -> None:
    if found := await VectorCollections(stores.qdrant, stores.prefix).list():
        names = counted(len(found), "collection")
        raise StartupError(
            f"Qdrant is not empty: it has {names} of an installation with the prefix {stores.prefix}, such as "
            f"{found[0].name}. Remove those of the former installation, or of a restore that was killed"
        )


@asynccontextmanager
async def _removed_on_failure(stores: Stores, manifest: Manifest) -> AsyncIterator[None]:
    """Remove the vectors of a restore that fails. There were none before."""
    await _check_no_vectors(stores)
    try:
        yield
    except BaseException:
        with suppress(ServiceError), qdrant_errors():
            for name in manifest.vectors:
                await stores.qdrant.delete_collection(name)
        raise


async def _fill_qdrant(stores: Stores, source: Path, manifest: Manifest) -> None:
    for number, (name, points) in enumerate(manifest.vectors.items(), start=1):
        _say(f"restoring vectors, {number} of {len(manifest.vectors)}: {name}")
        with (source / VECTORS / name).open("rb") as file:
            try:
                await read_collection(stores.qdrant, file)
            except (ValueError, DecodeError) as error:
                raise StartupError(f"the backup {source} is damaged: {name}: {error}") from error
        with qdrant_errors():
            await wait_until_settled(stores.qdrant, name, points)
            found = await stores.qdrant.count_points(name)
        if found != points:
            raise StartupError(f"the backup {source} is damaged: {name} has {found} of {points} vectors")


async def _check_fit(connection: Connection, stores: Stores) -> None:
    """Raise StartupError unless each live index has all its points."""
    for name, points in (await live_points(connection)).items():
        with qdrant_errors():
            found = await stores.qdrant.count_points(name)
        if found < points:
            raise StartupError(f"database and vectors do not fit together: {name} has {found} of {points} vectors")


def _say_restored(manifest: Manifest) -> None:
    restored = f"{counted(manifest.collections, 'collection')} with {counted(manifest.images, 'image')}"
    _say(f"restored {restored} as of {manifest.created_at}")


def _say(text: str) -> None:
    sys.stderr.write(f"similis: {text}\n")
