"""`similis backup` and `similis restore`, with the real databases of an instance."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catalog.keys.api_keys import ApiKeys
from catalog.postgres.advisory_lock import JANITOR_LOCK
from catalog.postgres.database import Database
from catalog.postgres.migrate import migrate
from catalog.postgres.table_files import Connection, write_tables
from catalog.vectors.client import vector_of
from servicekit.process.service import StartupError
from standalone.backup.archive import MANIFEST, Manifest, read_manifest, write_manifest
from standalone.backup.create import create_backup
from standalone.backup.restore import restore_backup
from standalone.backup.stores import Stores, instance_stores, running_stores
from standalone.instance.data_directory import open_data_directory
from tests.integration.standalone.indexed import BACKBONE, IMAGES, VECTORS, filled
from tests.integration.workplace import Workplace

PREFIX = "similis"


@asynccontextmanager
async def instance(root: Path) -> AsyncIterator[tuple[Stores, Workplace]]:
    """Run the databases of the data directory `root`."""
    async with open_data_directory(root, min_free_bytes=0) as data, running_stores(data, PREFIX) as stores:
        await migrate(stores.database_url)
        async with Database.open(stores.database_url) as database:
            yield stores, Workplace(stores.database_url, "", PREFIX, root, database, stores.qdrant)


def give_admin_key(stores: Stores) -> None:
    assert stores.admin_key is not None
    stores.admin_key.write_text("1.secret\n")


def rewrite(backup: Path, manifest: Manifest) -> None:
    (backup / MANIFEST).unlink()
    write_manifest(backup, manifest)


def beginning_with(folder: Path, name: str) -> list[Path]:
    return list(folder.glob(f"{name}*"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of an instance with one collection, to copy."""
    folder = tmp_path_factory.mktemp("finished")

    async def make() -> None:
        async with instance(folder / "data") as (stores, place):
            await filled(place)
            give_admin_key(stores)
            await create_backup(instance_stores(folder / "data", PREFIX), folder / "backup")

    asyncio.run(make())
    return folder / "backup"


@pytest.fixture
def backup(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "backup")
    return tmp_path / "backup"


async def test_a_backup_of_a_working_instance_holds_everything_from_before_and_nothing_from_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with instance(tmp_path / "data") as (stores, place):
        collection, index = await filled(place)
        secret = await ApiKeys(place.database).create("curator")
        give_admin_key(stores)
        hits = await place.generations.query(index.qdrant_collection, VECTORS[3], 5, None)

        async def write_later(connection: Connection, folder: Path) -> None:
            # An image that arrives now has an id that the restored database gives to another image.
            await place.fill(collection, ["https://example.org/late.jpg"])
            late = await place.rows("SELECT max(id) FROM images")
            await place.base_stores.of(collection, BACKBONE).put([int(str(late[0][0]))], VECTORS[:1])
            await place.collections.create("late")
            await write_tables(connection, folder)

        monkeypatch.setattr("standalone.backup.database.write_tables", write_later)
        await create_backup(instance_stores(tmp_path / "data", PREFIX), tmp_path / "backup")

    await restore_backup(tmp_path / "backup", tmp_path / "restored", prefix=PREFIX, min_free_bytes=0)
    assert (tmp_path / "restored" / "admin-key").read_text() == "1.secret\n"
    async with instance(tmp_path / "restored") as (stores, place):
        assert await place.collections.names() == [(collection, "coins")]
        assert await place.rows("SELECT count(*) FROM images") == [(IMAGES,)]
        assert await ApiKeys(place.database).is_valid(secret)
        _, live = await place.indexes.live(collection)
        assert live is not None
        assert await place.generations.query(live.qdrant_collection, VECTORS[3], 5, None) == hits
        store = place.base_stores.of(collection, BACKBONE)
        assert await stores.qdrant.count_points(store.name) == IMAGES
        ids, vectors = await store.read(range(1, IMAGES + 1))
        np.testing.assert_array_equal(vectors[np.argsort(ids)], VECTORS)
        point = (await stores.qdrant.get_points(store.name, [1], vectors=True))[0]
        np.testing.assert_array_equal(vector_of(point.vectors), VECTORS[0])


@pytest.mark.parametrize("name", ["database/images.copy.gz", "vectors/similis-c1-g1", "admin-key", "manifest.json"])
async def test_a_backup_that_was_changed_is_not_restored(backup: Path, tmp_path: Path, name: str) -> None:
    content = bytearray((backup / name).read_bytes())
    content[len(content) // 2] ^= 1
    (backup / name).write_bytes(content)
    with pytest.raises(StartupError, match=f"damaged: {name} has changed"):
        await restore_backup(backup, tmp_path / "restored", prefix=PREFIX, min_free_bytes=0)
    assert not beginning_with(tmp_path, "restored")


async def test_a_backup_that_cannot_be_used_is_refused_with_the_reason(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="is not empty"):
        await restore_backup(backup, backup, prefix=PREFIX, min_free_bytes=0)
    with pytest.raises(StartupError, match="is not a backup of Similis"):
        await restore_backup(tmp_path, tmp_path / "restored", prefix=PREFIX, min_free_bytes=0)
    manifest = read_manifest(backup)
    rewrite(backup, replace(manifest, schema=999))
    with pytest.raises(StartupError, match="Install that version or a newer one"):
        await restore_backup(backup, tmp_path / "restored", prefix=PREFIX, min_free_bytes=0)
    rewrite(backup, replace(manifest, prefix="library"))
    with pytest.raises(StartupError, match="names in the backup begin with library"):
        await restore_backup(backup, tmp_path / "restored", prefix=PREFIX, min_free_bytes=0)
    rewrite(backup, manifest)
    (backup / "database/images.copy.gz").unlink()
    with pytest.raises(StartupError, match=r"incomplete: database/images"):
        await restore_backup(backup, tmp_path / "restored", prefix=PREFIX, min_free_bytes=0)
    assert not beginning_with(tmp_path, "restored")


async def test_a_backup_that_does_not_come_to_its_end_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async with instance(tmp_path / "data") as (_, place):
        _, index = await filled(place)
        with monkeypatch.context() as patch:
            patch.setattr("standalone.backup.create.write_snapshot", never)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(
                    create_backup(instance_stores(tmp_path / "data", PREFIX), tmp_path / "backup"), 1.0
                )
        assert not beginning_with(tmp_path, "backup")
        # The janitor may go on, once Postgres has ended the session that held its lock.
        for _ in range(100):
            if await place.rows("SELECT pg_try_advisory_lock($1)", JANITOR_LOCK) == [(True,)]:
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("the lock of the janitor is still held")
        await place.rows("SELECT pg_advisory_unlock_all()")
        with pytest.raises(StartupError, match="Choose a new folder for the backup"):
            await create_backup(instance_stores(tmp_path / "data", PREFIX), tmp_path)
        await place.generations.drop(index.qdrant_collection)
        with pytest.raises(StartupError, match=f"lost an index .{index.qdrant_collection}."):
            await create_backup(instance_stores(tmp_path / "data", PREFIX), tmp_path / "backup")
    assert not beginning_with(tmp_path, "backup")
