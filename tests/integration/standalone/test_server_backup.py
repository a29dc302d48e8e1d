"""`similis backup --servers` and `similis restore --servers`, with real servers."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import numpy as np
import pytest
import pytest_asyncio
from pydantic import SecretStr

from catalog.keys.api_keys import ApiKeys
from catalog.postgres.advisory_lock import JANITOR_LOCK
from catalog.postgres.database import Database
from catalog.postgres.migrate import ADVISORY_LOCK, apply_migrations, migrations
from catalog.postgres.table_files import Connection, read_tables, table_names, write_tables
from catalog.settings import StoreSettings
from catalog.vectors.client import Qdrant, QdrantAddress, open_qdrant
from servicekit.process.service import StartupError
from standalone.backup.archive import MANIFEST, read_manifest, write_manifest
from standalone.backup.create import create_backup
from standalone.backup.database import fill
from standalone.backup.restore import restore_servers
from standalone.backup.stores import server_stores
from tests.certificates import Authority
from tests.integration.databases import administer, new_database, postgres_process
from tests.integration.keyed_qdrant import keyed_qdrant
from tests.integration.qdrant_process import running_qdrant
from tests.integration.standalone.indexed import BACKBONE, IMAGES, VECTORS, filled
from tests.integration.workplace import Workplace
from tests.tls_front import Streams, tls_front

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOWHERE = "127.0.0.1:1"
ALL_ROWS = "SELECT * FROM {} t ORDER BY t::text"
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
CONSTRAINTS = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
"""
END_OTHER_LOCKS = """
SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE l.locktype = 'advisory' AND d.datname = current_database() AND l.pid <> pg_backend_pid()
"""
NEWEST = migrations()[-1].version


@dataclass(frozen=True)
class Target:
    """Empty servers, beside those of the workplace."""

    database_url: str
    qdrant_address: str
    qdrant: Qdrant

    def settings(self, prefix: str) -> StoreSettings:
        return settings(self.database_url, self.qdrant_address, prefix)

    async def is_empty(self) -> bool:
        connection = await asyncpg.connect(self.database_url)
        try:
            return not await table_names(connection) and not await self.qdrant.collection_names()
        finally:
            await connection.close()


def settings(database_url: str, qdrant_address: str, prefix: str) -> StoreSettings:
    return StoreSettings(
        database_url=SecretStr(database_url), qdrant_address=qdrant_address, vector_prefix=prefix, log_format="console"
    )


def settings_of(place: Workplace) -> StoreSettings:
    return settings(place.database_url, place.qdrant_address, place.prefix)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def other_qdrant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with running_qdrant(tmp_path_factory.mktemp("other-qdrant")) as server:
        yield f"{server.host}:{server.grpc_port}"


@pytest_asyncio.fixture(loop_scope="session")
async def target(postgres_url: str, other_qdrant: str) -> AsyncIterator[Target]:
    async with new_database(postgres_url, migrated=False) as url, open_qdrant(QdrantAddress(other_qdrant)) as qdrant:
        yield Target(url, other_qdrant, qdrant)
        for name in await qdrant.collection_names():
            await qdrant.delete_collection(name)


@pytest_asyncio.fixture(loop_scope="session")
async def backup(workplace: Workplace, tmp_path: Path) -> Path:
    """A backup of a workplace with one collection."""
    await filled(workplace)
    await create_backup(server_stores(settings_of(workplace)), tmp_path / "backup")
    return tmp_path / "backup"


@asynccontextmanager
async def restored(target: Target, prefix: str) -> AsyncIterator[Workplace]:
    async with Database.open(target.database_url) as database:
        yield Workplace(target.database_url, target.qdrant_address, prefix, Path(), database, target.qdrant)


def backups_in(folder: Path) -> list[Path]:
    return list(folder.glob("backup*"))


async def similis(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the command and return its status, its output and its errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "standalone", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "SIMILIS_QDRANT_ADDRESS": NOWHERE, **environment},
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_a_backup_of_servers_is_restored_into_other_servers(
    workplace: Workplace, target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collection, index = await filled(workplace)
    secret = await ApiKeys(workplace.database).create("curator")
    hits = await workplace.generations.query(index.qdrant_collection, VECTORS[3], 5, None)
    await create_backup(server_stores(settings_of(workplace)), tmp_path / "backup")
    # Other tests of this process may log.
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "backup")
    tables = {}
    async with workplace.database.connection() as connection:
        for name in await table_names(connection):  # type: ignore[arg-type]  # a pool's connection
            tables[name] = await connection.fetch(ALL_ROWS.format(name))

    await restore_servers(tmp_path / "backup", target.settings(workplace.prefix))
    assert "similis check trainer" in capsys.readouterr().err
    async with restored(target, workplace.prefix) as place:
        for name, rows in tables.items():
            assert await place.rows(ALL_ROWS.format(name)) == [tuple(row) for row in rows], name
        assert await ApiKeys(place.database).is_valid(secret)
        _, live = await place.indexes.live(collection)
        assert live is not None
        assert await place.generations.query(live.qdrant_collection, VECTORS[3], 5, None) == hits
        ids, vectors = await place.base_stores.of(collection, BACKBONE).read(range(1, IMAGES + 1))
        np.testing.assert_array_equal(vectors[np.argsort(ids)], VECTORS)
        # Ids go on, and the schema has what it should have.
        later = await place.collections.create("later")
        assert later > collection
        await place.rows("DELETE FROM collections WHERE id = $1", collection)
        assert await place.rows("SELECT count(*) FROM contents") == [(0,)]
        for statement in (INDEXES, CONSTRAINTS):
            assert await place.rows(statement) == await workplace.rows(statement)


async def test_neither_a_migration_nor_the_janitor_runs_during_a_backup(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(workplace)
    free: list[bool] = []

    async def try_locks(connection: Connection, folder: Path) -> None:
        for lock in (JANITOR_LOCK, ADVISORY_LOCK):
            free.extend(bool(row[0]) for row in await workplace.rows("SELECT pg_try_advisory_lock($1)", lock))
        await write_tables(connection, folder)

    monkeypatch.setattr("standalone.backup.database.write_tables", try_locks)
    await create_backup(server_stores(settings_of(workplace)), tmp_path / "backup")
    assert free == [False, False]
    for lock in (JANITOR_LOCK, ADVISORY_LOCK):
        assert await workplace.rows("SELECT pg_try_advisory_lock($1)", lock) == [(True,)]


async def test_a_backup_that_loses_its_lock_fails(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The janitor could have removed vectors meanwhile."""
    await filled(workplace)
    ended: list[bool] = []

    async def lose_lock(connection: Connection, folder: Path) -> None:
        ended.extend(row[0] for row in await connection.fetch(END_OTHER_LOCKS))
        await write_tables(connection, folder)

    monkeypatch.setattr("standalone.backup.database.write_tables", lose_lock)
    with pytest.raises(StartupError, match=r"the backup failed: .*(connection|terminating)"):
        await create_backup(server_stores(settings_of(workplace)), tmp_path / "backup")
    assert ended == [True]
    assert backups_in(tmp_path) == []


async def test_both_work_over_tls(workplace: Workplace, target: Target, tmp_path: Path) -> None:
    authority = Authority()
    files = authority.issue(tmp_path / "certificate", "localhost")
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    async with AsyncExitStack() as stack:

        async def over_tls(database_url: str, qdrant_address: str) -> StoreSettings:
            socket = Path(parse_qs(urlsplit(database_url).query)["host"][0]) / ".s.PGSQL.5432"

            async def connect_postgres() -> Streams:
                return await asyncio.open_unix_connection(socket)

            async def connect_qdrant() -> Streams:
                return await asyncio.open_connection(*qdrant_address.split(":"))

            postgres = await stack.enter_async_context(tls_front(files, connect_postgres, postgres=True))
            qdrant = await stack.enter_async_context(tls_front(files, connect_qdrant))
            return StoreSettings(
                database_url=SecretStr(f"postgresql://similis@localhost:{postgres}{urlsplit(database_url).path}"),
                database_ca_file=tmp_path / "ca.crt",
                qdrant_address=f"localhost:{qdrant}",
                qdrant_tls=True,
                qdrant_ca_file=tmp_path / "ca.crt",
                vector_prefix=workplace.prefix,
            )

        await filled(workplace)
        source = await over_tls(workplace.database_url, workplace.qdrant_address)
        await create_backup(server_stores(source), tmp_path / "backup")
        await restore_servers(tmp_path / "backup", await over_tls(target.database_url, target.qdrant_address))
    async with restored(target, workplace.prefix) as place:
        assert await place.rows("SELECT count(*) FROM images") == [(IMAGES,)]


async def test_a_wrong_password_is_reported_in_one_line_and_leaves_nothing(
    postgres_url: str, qdrant_address: str, tmp_path: Path
) -> None:
    async with new_database(postgres_url) as url:
        await administer(url, "CREATE ROLE locked_out LOGIN PASSWORD 'right'")
        rules = Path(postgres_process(url).cwd()) / "pg_hba.conf"
        rules.write_text("local all locked_out scram-sha-256\n" + rules.read_text())
        await administer(url, "SELECT pg_reload_conf()")
        wrong = urlsplit(url)._replace(netloc="locked_out:wr%23ng@").geturl()
        refused = await similis(
            *("backup", str(tmp_path / "backup"), "--servers"),
            SIMILIS_DATABASE_URL=wrong,
            SIMILIS_QDRANT_ADDRESS=qdrant_address,
        )
        await administer(url, "DROP ROLE locked_out")
    message = "similis: The database refused the password in SIMILIS_DATABASE_URL.\n"
    assert refused == (1, "", message)
    assert backups_in(tmp_path) == []


async def test_servers_that_cannot_be_used_are_reported_in_one_line(
    workplace: Workplace, target: Target, tmp_path: Path
) -> None:
    folder = str(tmp_path / "backup")
    unreachable = f"postgresql://similis@{NOWHERE}/similis"
    working = {"SIMILIS_DATABASE_URL": workplace.database_url, "SIMILIS_QDRANT_ADDRESS": workplace.qdrant_address}
    async with keyed_qdrant() as keyed:
        cases = [
            ({}, 78, "SIMILIS_DATABASE_URL: required, but not set"),
            ({**working, "SIMILIS_DATABASE_URL": unreachable}, 1, "The database is not available"),
            ({**working, "SIMILIS_QDRANT_ADDRESS": NOWHERE}, 1, "The vector store is not available"),
            ({**working, "SIMILIS_QDRANT_ADDRESS": keyed}, 1, "SIMILIS_QDRANT_API_KEY is missing or wrong"),
            ({**working, "SIMILIS_DATABASE_URL": target.database_url}, 1, "Run 'similis migrate' first"),
        ]
        for environment, expected, words in cases:
            status, output, errors = await similis("backup", folder, "--servers", **environment)
            assert (status, output, errors.count("\n")) == (expected, "", 1), errors
            assert words in errors
    assert backups_in(tmp_path) == []


async def test_a_restore_into_servers_that_are_not_empty_changes_nothing(
    backup: Path, workplace: Workplace, target: Target
) -> None:
    chosen = target.settings(workplace.prefix)
    connection = await asyncpg.connect(target.database_url)
    await connection.execute("CREATE TABLE notes (text text)")
    with pytest.raises(StartupError, match="is not empty: its schema public has the table notes"):
        await restore_servers(backup, chosen)
    assert await table_names(connection) == ["notes"]
    assert await target.qdrant.collection_names() == []
    await connection.execute("DROP TABLE notes")

    async with restored(target, workplace.prefix) as place:
        await place.generations.create(f"{workplace.prefix}-c9-g9", 4)
    with pytest.raises(StartupError, match=r"Qdrant is not empty: it has 1 collection .*-c9-g9"):
        await restore_servers(backup, chosen)
    assert await table_names(connection) == []
    assert await target.qdrant.collection_names() == [f"{workplace.prefix}-c9-g9"]
    await target.qdrant.delete_collection(f"{workplace.prefix}-c9-g9")

    await connection.execute("DROP SCHEMA public")
    with pytest.raises(StartupError, match="Create one: CREATE SCHEMA public"):
        await restore_servers(backup, chosen)
    await connection.execute("CREATE SCHEMA public")
    await connection.close()
    # The names of another installation's vectors are its own.
    async with restored(target, "other") as place:
        await place.generations.create("other-c1-g1", 4)
    await restore_servers(backup, chosen)


async def test_a_restore_with_another_prefix_is_refused(backup: Path, workplace: Workplace, target: Target) -> None:
    with pytest.raises(StartupError, match=f"Set it to {workplace.prefix}, for the services too"):
        await restore_servers(backup, target.settings("similis"))
    assert await target.is_empty()


async def test_a_restore_that_fails_midway_leaves_the_servers_empty(
    backup: Path, workplace: Workplace, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = target.settings(workplace.prefix)
    filled_with: list[str] = []

    async def fill_and_fail(connection: Connection, folder: Path, schema: int) -> list[str]:
        filled_with.extend(await target.qdrant.collection_names())
        await fill(connection, folder, schema)
        filled_with.extend(await table_names(connection))
        raise ValueError("broken")

    with monkeypatch.context() as patch:
        patch.setattr("standalone.backup.restore.fill", fill_and_fail)
        with pytest.raises(StartupError, match="is damaged: broken"):
            await restore_servers(backup, chosen)
    assert "images" in filled_with
    assert any(name.startswith(workplace.prefix) for name in filled_with)
    assert await target.is_empty()

    # Files that are as they were written, but do not fit together.
    manifest = read_manifest(backup)
    (generation,) = (name for name in manifest.vectors if "-g" in name.removeprefix(workplace.prefix))
    (backup / MANIFEST).unlink()
    others = {name: points for name, points in manifest.vectors.items() if name != generation}
    write_manifest(backup, replace(manifest, vectors=others))
    with pytest.raises(StartupError, match="The vectors of this index are missing"):
        await restore_servers(backup, chosen)
    assert await target.is_empty()


async def test_a_backup_that_is_ended_leaves_nothing(workplace: Workplace, tmp_path: Path) -> None:
    await filled(workplace)
    # The command waits for this lock.
    async with workplace.database.session() as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", JANITOR_LOCK)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "standalone", "backup", str(tmp_path / "backup"), "--servers"),
            env={
                **os.environ,
                "SIMILIS_DATABASE_URL": workplace.database_url,
                "SIMILIS_QDRANT_ADDRESS": workplace.qdrant_address,
                "SIMILIS_VECTOR_PREFIX": workplace.prefix,
            },
        )
        async with asyncio.timeout(60):
            while not (tmp_path / "backup.partial").exists():  # noqa: ASYNC110 (another process makes it)
                await asyncio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 143
    assert backups_in(tmp_path) == []


async def test_an_index_without_all_its_points_is_not_backed_up(workplace: Workplace, tmp_path: Path) -> None:
    _, index = await filled(workplace)
    (point, *_) = (await workplace.client.scroll_points(index.qdrant_collection, None, 1)).result
    await workplace.client.delete_points(index.qdrant_collection, [point.id.num])
    with pytest.raises(StartupError, match=f"has {IMAGES - 1} of {IMAGES}"):
        await create_backup(server_stores(settings_of(workplace)), tmp_path / "backup")
    # An image that shares its vector with another has no point.
    await workplace.rows(
        "INSERT INTO equal_images (index_id, first_image_id, ordinal, image_id) VALUES ($1, 1, 1, 2)", index.id
    )
    await create_backup(server_stores(settings_of(workplace)), tmp_path / "backup")
    assert read_manifest(tmp_path / "backup").vectors[index.qdrant_collection] == IMAGES - 1


async def test_an_older_schema_is_brought_up_to_date_and_tables_of_others_are_left_out(
    postgres_url: str, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    async with new_database(postgres_url, migrated=False) as url:
        connection = await asyncpg.connect(url)
        await apply_migrations(connection, last=NEWEST - 1)
        identifier = await connection.fetchval("INSERT INTO collections (name) VALUES ('Münzen\t\\N') RETURNING id")
        await connection.execute("CREATE TABLE notes (text text)")
        await write_tables(connection, tmp_path / "old")
        await connection.close()
    async with new_database(postgres_url, migrated=False) as url:
        connection = await asyncpg.connect(url)
        assert await fill(connection, tmp_path / "old", NEWEST - 1) == ["notes"]
        assert await connection.fetchval("SELECT max(version) FROM schema_migrations") == NEWEST
        rows = await connection.fetch("SELECT id, name FROM collections")
        assert [tuple(row) for row in rows] == [(identifier, "Münzen\t\\N")]
        assert await connection.fetchval("INSERT INTO collections (name) VALUES ('next') RETURNING id") > identifier
        (tmp_path / "new").mkdir()
        await write_tables(connection, tmp_path / "new")
        (tmp_path / "new" / "images.copy.gz").write_bytes(b"\x1f\x8b no gzip")
        with pytest.raises(ValueError, match=r"images\.copy\.gz"):
            await read_tables(connection, tmp_path / "new")
        await connection.close()
