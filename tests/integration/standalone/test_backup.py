"""`similis backup` and `similis restore`, with the real databases of an instance."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from catalog.indexes import Index
from catalog.keys.api_keys import ApiKeys
from catalog.postgres.advisory_lock import JANITOR_LOCK
from catalog.postgres.database import Database
from catalog.postgres.migrate import migrate
from catalog.vectors.client import vector_of
from servicekit.process.service import StartupError
from standalone.backup.archive import MANIFEST
from standalone.backup.create import create_backup
from standalone.backup.database_dump import dump_database
from standalone.backup.restore import restore_backup
from standalone.backup.stores import Stores, running_stores
from standalone.instance.data_directory import open_data_directory
from tests.integration.workplace import Workplace

BACKBONE = "b" * 64
DIM = 8
IMAGES = 40
VECTORS = np.random.default_rng(0).normal(size=(IMAGES, DIM)).astype(np.float32)


@asynccontextmanager
async def instance(root: Path) -> AsyncIterator[tuple[Stores, Workplace]]:
    """Run the databases of the data directory `root`."""
    async with open_data_directory(root, min_free_bytes=0) as data, running_stores(data) as stores:
        await migrate(stores.database_url)
        async with Database.open(stores.database_url) as database:
            yield stores, Workplace(stores.database_url, "", "similis", root, database, stores.qdrant)


async def filled(place: Workplace) -> tuple[int, Index]:
    """Make a collection with a live index."""
    collection = await place.collection([f"https://example.org/{number}.jpg" for number in range(IMAGES)])
    await place.finetune(collection)
    job = await place.jobs.claim("worker")
    assert job is not None
    index = await place.indexes.begin(job, BACKBONE)
    ids = [image.id for image in await place.images.page(collection, job.revision, after=0, limit=IMAGES)]
    store = place.base_stores.of(collection, BACKBONE)
    await store.ensure(DIM)
    await store.put(ids, VECTORS)
    await place.generations.create(index.qdrant_collection, DIM)
    await place.generations.put(index.qdrant_collection, ids, VECTORS)
    await place.generations.wait_until_indexed(index.qdrant_collection, IMAGES)
    await place.jobs.publish(job, index.id, IMAGES)
    return collection, index


def beginning_with(folder: Path, name: str) -> list[Path]:
    return list(folder.glob(f"{name}*"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of an instance with one collection, to copy."""
    folder = tmp_path_factory.mktemp("finished")

    async def make() -> None:
        async with instance(folder / "data") as (stores, place):
            await filled(place)
            stores.data.admin_key.write_text("1.secret\n")
            await create_backup(folder / "data", folder / "backup")

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
        stores.data.admin_key.write_text("1.secret\n")
        hits = await place.generations.query(index.qdrant_collection, VECTORS[3], 5, None)

        async def dump_and_go_on(url: str, snapshot: str, file: Path) -> None:
            # An image that arrives now has an id that the restored database gives to another image.
            await place.fill(collection, ["https://example.org/late.jpg"])
            late = await place.rows("SELECT max(id) FROM images")
            await place.base_stores.of(collection, BACKBONE).put([int(str(late[0][0]))], VECTORS[:1])
            await place.collections.create("late")
            await dump_database(url, snapshot, file)

        monkeypatch.setattr("standalone.backup.create.dump_database", dump_and_go_on)
        await create_backup(tmp_path / "data", tmp_path / "backup")

    await restore_backup(tmp_path / "backup", tmp_path / "restored", min_free_bytes=0)
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


@pytest.mark.parametrize("name", ["database.dump", "vectors/similis-c1-g1", "admin-key"])
async def test_a_backup_that_was_changed_is_not_restored(backup: Path, tmp_path: Path, name: str) -> None:
    content = bytearray((backup / name).read_bytes())
    content[len(content) // 2] ^= 1
    (backup / name).write_bytes(content)
    with pytest.raises(StartupError, match=f"damaged: {name} has changed"):
        await restore_backup(backup, tmp_path / "restored", min_free_bytes=0)
    assert not beginning_with(tmp_path, "restored")


async def test_a_backup_that_cannot_be_used_is_refused_with_the_reason(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="is not empty"):
        await restore_backup(backup, backup, min_free_bytes=0)
    with pytest.raises(StartupError, match="is not a backup of Similis"):
        await restore_backup(tmp_path, tmp_path / "restored", min_free_bytes=0)
    manifest = (backup / MANIFEST).read_text()
    (backup / MANIFEST).write_text(manifest.replace('"schema": ', '"schema": 9'))
    with pytest.raises(StartupError, match="Install that version or a newer one"):
        await restore_backup(backup, tmp_path / "restored", min_free_bytes=0)
    (backup / MANIFEST).write_text(manifest)
    (backup / "database.dump").unlink()
    with pytest.raises(StartupError, match=r"incomplete: database\.dump"):
        await restore_backup(backup, tmp_path / "restored", min_free_bytes=0)
    assert not beginning_with(tmp_path, "restored")


async def test_a_backup_that_does_not_come_to_its_end_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async with instance(tmp_path / "data") as (_, place):
        _, index = await filled(place)
        with monkeypatch.context() as patch:
            patch.setattr("standalone.backup.create.dump_database", never)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(create_backup(tmp_path / "data", tmp_path / "backup"), 1.0)
        assert not beginning_with(tmp_path, "backup")
        # The janitor may go on.
        assert await place.rows("SELECT pg_try_advisory_lock($1)", JANITOR_LOCK) == [(True,)]
        await place.rows("SELECT pg_advisory_unlock_all()")
        with pytest.raises(StartupError, match="Choose a new folder for the backup"):
            await create_backup(tmp_path / "data", tmp_path)
        await place.generations.drop(index.qdrant_collection)
        with pytest.raises(StartupError, match=f"lost an index .{index.qdrant_collection}."):
            await create_backup(tmp_path / "data", tmp_path / "backup")
    assert not beginning_with(tmp_path, "backup")
