"""`similis restore`: makes a data directory from a backup."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf.message import DecodeError

from catalog.postgres.migrate import migrations
from catalog.vectors.collection_file import read_collection
from catalog.vectors.settling import wait_until_settled
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError
from servicekit.quantities import counted
from standalone.backup.archive import ADMIN_KEY, DATABASE, VECTORS, Manifest, check_files, read_manifest, write_durably
from standalone.backup.database_dump import load_database
from standalone.backup.stores import Stores, running_stores
from standalone.instance.data_directory import MARK, DataDirectory, open_data_directory
from standalone.schema import migrate_data_directory


async def restore_backup(source: Path, root: Path, *, min_free_bytes: int) -> None:
    """Make the new data directory `root` from the backup in `source`. Raises StartupError, and leaves nothing then."""
    manifest = read_manifest(source)
    newest = migrations()[-1].version
    if manifest.schema > newest:
        raise StartupError(
            f"the backup was made by Similis {manifest.version} (schema version {manifest.schema}; this release knows "
            f"{newest}). Install that version or a newer one"
        )
    with _new_directory(root) as partial:
        _say(f"checking the backup of {manifest.created_at}")
        check_files(source, manifest)
        try:
            async with open_data_directory(partial, min_free_bytes=min_free_bytes) as data:
                _copy_admin_key(source, data)
                async with running_stores(data) as stores:
                    await _fill(stores, source, manifest)
        except ServiceError as error:
            raise StartupError(f"the restore failed: {error.message}") from error
    restored = f"{counted(manifest.collections, 'collection')} with {counted(manifest.images, 'image')}"
    _say(f"restored {restored}")
    _say(f"to start the instance: similis up --data {root}")


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
    _say("restoring the database")
    await load_database(stores.database_url, source / DATABASE)
    await migrate_data_directory(stores.database_url)
    for number, (name, points) in enumerate(manifest.vectors.items(), start=1):
        _say(f"restoring vectors, {number} of {len(manifest.vectors)}: {name}")
        with (source / VECTORS / name).open("rb") as file:
            try:
                await read_collection(stores.qdrant, file)
            except (ValueError, DecodeError) as error:
                raise StartupError(f"the backup {source} is damaged: {name}: {error}") from error
        await wait_until_settled(stores.qdrant, name, points)
        if (found := await stores.qdrant.count_points(name)) != points:
            raise StartupError(f"the backup {source} is damaged: {name} has {found} of {points} vectors")


def _say(text: str) -> None:
    sys.stderr.write(f"similis: {text}\n")
