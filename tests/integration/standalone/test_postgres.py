"""Postgres as a child: durable, private, and with clear errors."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from servicekit.process.service import StartupError
from servicekit.process.silence import Patience
from standalone.instance.data_directory import DataDirectory, open_data_directory
from standalone.instance.run_directory import run_directory, run_directory_of
from standalone.postgres import binaries
from standalone.postgres.damage import CERTAIN_SECONDS, DamagedDatabase, damage_in_last_words
from standalone.postgres.database import running_database
from standalone.postgres.server import TUNING, database_url, ensure_database, postgres_spec, prepare_cluster
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import supervised
from standalone.process.tethered_process import Account
from tests.eventually import eventually
from tests.processes import offspring

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another user")


async def run_on(data: DataDirectory, statement: str) -> object:
    """Start Postgres on a data directory, run one statement, stop Postgres."""
    async with running_database(data) as url:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


async def test_data_survives_a_restart(data: DataDirectory) -> None:
    await run_on(data, "CREATE TABLE things AS SELECT 42 AS answer")
    assert await run_on(data, "SELECT answer FROM things") == 42
    assert not (data.cluster / "postmaster.pid").exists()


async def test_a_commit_survives_a_kill_and_the_server_restarts_by_itself(data: DataDirectory) -> None:
    output = ChildLog("postgres", data.logs)
    with run_directory(data) as sockets:
        await prepare_cluster(data, output)
        spec = postgres_spec(data, sockets)
        async with supervised(spec, output) as child:
            await child.wait_ready()
            await ensure_database(sockets)
            connection = await asyncpg.connect(database_url(sockets))
            await connection.execute("CREATE TABLE things AS SELECT 42 AS answer")
            pid = child.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: child.pid not in (None, pid))
            connection.terminate()
            async with asyncio.timeout(20):
                while not await spec.ready():  # noqa: ASYNC110 - another process becomes ready
                    await asyncio.sleep(0.02)
            again = await asyncpg.connect(database_url(sockets))
            assert await again.fetchval("SELECT answer FROM things") == 42
            await again.close()


async def test_a_server_that_refuses_connections_is_alive(data: DataDirectory, url: str) -> None:
    watch = postgres_spec(data, run_directory_of(data), patience=Patience(60.0, starting_seconds=60.0)).watch
    assert watch is not None
    most = int(TUNING["max_connections"])
    superusers = url.replace("://similis@", "://postgres@")
    async with AsyncExitStack() as stack:
        with pytest.raises(asyncpg.TooManyConnectionsError):  # noqa: PT012 - which one is refused does not matter
            for _ in range(most + 1):
                stack.push_async_callback((await asyncpg.connect(superusers)).close)
        assert not await postgres_spec(data, run_directory_of(data)).ready()
        assert await watch.alive()


async def test_leftovers_of_a_killed_run_do_not_stop_the_next(data: DataDirectory) -> None:
    await run_on(data, "CREATE TABLE things AS SELECT 42 AS answer")
    # The id of a living process, which is of the same user unless we are root.
    (data.cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{data.cluster}\n1\n5432\n.\n\n")
    (data.cluster / ".s.PGSQL.5432.lock").write_text(f"{os.getpid()}\n")
    (data.cluster / ".s.PGSQL.5432").touch()
    assert await run_on(data, "SELECT answer FROM things") == 42


async def test_an_interrupted_initdb_is_repeated(new_data: DataDirectory) -> None:
    (new_data.postgres / "new" / "base").mkdir(parents=True)
    assert await run_on(new_data, "SELECT 1") == 1
    assert not (new_data.postgres / "new").exists()


async def test_it_listens_on_no_port_and_its_socket_is_private(data: DataDirectory, url: str) -> None:
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SHOW listen_addresses") == ""
    assert await connection.fetchval("SHOW fsync") == "on"
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    assert not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    await connection.close()
    sockets = run_directory_of(data) / "postgres"
    assert (sockets / ".s.PGSQL.5432").stat().st_mode & 0o777 == 0o700
    assert sockets.resolve().parent.stat().st_mode & 0o777 == 0o700


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def emptied(path: Path) -> None:
    os.truncate(path, 0)


@dataclass(frozen=True)
class Damage:
    """What is done to a file, and what is said about it. file: its path, or the table that it is of."""

    do: Callable[[Path], None]
    file: str
    found: str

    def __str__(self) -> str:
        return f"{self.do.__name__} {self.file}"


@pytest.mark.parametrize(
    "damage",
    [
        # The server ends.
        Damage(zeroed, "global/pg_control", "database files are incompatible"),
        Damage(Path.unlink, "global/pg_control", "could not open file .*global/pg_control"),
        Damage(zeroed, "pg_wal/0*", "could not locate a valid checkpoint record"),
        Damage(Path.unlink, "pg_xact/0000", "could not access status of transaction"),
        # It accepts no connection.
        Damage(emptied, "global/1262", 'database "postgres" does not exist'),
        Damage(Path.unlink, "global/1262", "could not open file .*global/1262"),
        Damage(zeroed, "global/1260", 'role "postgres" does not exist'),
        # Its processes end, again and again.
        Damage(zeroed, "global/pg_filenode.map", "relation mapping file .*global/pg_filenode.map.* invalid data"),
        # It accepts no connection to our database.
        Damage(zeroed, "pg_class", "could not open critical system index"),
        Damage(zeroed, "pg_attribute", "pg_attribute catalog is missing"),
        Damage(Path.unlink, "pg_class", "could not open file .*base/"),
        # It does not know its version.
        Damage(Path.unlink, "PG_VERSION", "cannot read .*PG_VERSION"),
        Damage(emptied, "PG_VERSION", "PG_VERSION does not name a version"),
    ],
    ids=str,
)
async def test_a_damaged_cluster_is_reported_soon(data: DataDirectory, damage: Damage) -> None:
    file = damage.file
    if file.startswith("pg_") and "/" not in file:
        file = str(await run_on(data, f"SELECT pg_relation_filepath('{file}')"))
    else:
        await run_on(data, "SELECT 1")
    damage.do(max(data.cluster.glob(file)))
    with pytest.raises(DamagedDatabase, match=damage.found) as raised:
        async with asyncio.timeout(30):
            await run_on(data, "SELECT 1")
    for part in (str(data.cluster), str(data.logs / "postgres.log"), "similis restore"):
        assert part in str(raised.value)
    assert "/proc/" not in str(raised.value)


async def test_a_server_that_recovers_for_long_is_not_taken_for_a_damaged_one(data: DataDirectory) -> None:
    output = ChildLog("postgres", data.logs)
    with run_directory(data) as sockets:
        await prepare_cluster(data, output)
        async with supervised(postgres_spec(data, sockets), output) as child:
            await child.wait_ready()
            await ensure_database(sockets)
            connection = await asyncpg.connect(database_url(sockets))
            await connection.execute("CREATE TABLE things (content text)")
            await connection.execute("INSERT INTO things SELECT repeat('x', 1000) FROM generate_series(1, 30000)")
            connection.terminate()
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            # It is started again, and replays 30 MB.
            await eventually(lambda: bool(offspring("startup recovering")))
            (replay,) = offspring("startup recovering")
            replay.suspend()
            spec = postgres_spec(data, sockets)
            deadline = asyncio.get_running_loop().time() + 3 * CERTAIN_SECONDS
            while asyncio.get_running_loop().time() < deadline:
                assert not await spec.ready()
                assert spec.explain(output.reason()) is None
                await asyncio.sleep(0.05)
            replay.resume()
            async with asyncio.timeout(30):
                while not await spec.ready():  # noqa: ASYNC110 - another process becomes ready
                    await asyncio.sleep(0.02)
            again = await asyncpg.connect(database_url(sockets))
            assert await again.fetchval("SELECT count(*) FROM things") == 30000
            await again.close()


@pytest.mark.parametrize(
    "words",
    [
        'FATAL: configuration file "/proc/self/cwd/postgresql.conf" contains errors',
        "FATAL: could not create shared memory segment: Cannot allocate memory",
        'FATAL: could not open file "global/pg_control": Permission denied',
        'PANIC: could not write to file "pg_wal/xlogtemp": No space left on device',
        "LOG: database system was interrupted; last known up at 2026-11-29 02:00:00 UTC",
        "LOG: invalid record length at 0/1F3AF00: expected at least 24, got 0",
    ],
)
def test_an_end_for_another_reason_is_no_damage(data: DataDirectory, words: str) -> None:
    assert damage_in_last_words(data, words) is None


async def test_a_cluster_of_another_version_is_refused(new_data: DataDirectory) -> None:
    new_data.cluster.mkdir()
    (new_data.cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(StartupError, match=r"was created by Postgres 17, this is Postgres 18"):
        await run_on(new_data, "SELECT 1")


async def test_vectors_without_a_database_are_not_mistaken_for_a_new_instance(new_data: DataDirectory) -> None:
    (new_data.qdrant / "something").mkdir()
    with pytest.raises(DamagedDatabase, match=r"is damaged: .* is missing"):
        await run_on(new_data, "SELECT 1")


async def test_a_data_directory_with_a_long_name_and_odd_characters_works(tmp_path: Path) -> None:
    async with open_data_directory(tmp_path / ("a long name " * 12) / "ü%20?#", min_free_bytes=0) as data:
        assert await run_on(data, "SELECT 1") == 1


def closed_directory(parent: Path) -> Path:
    path = parent / "closed"
    path.mkdir(mode=0o700)
    return path


@root_only
async def test_root_can_keep_its_data_where_no_other_user_can_enter(tmp_path: Path) -> None:
    async with open_data_directory(closed_directory(tmp_path) / "data", min_free_bytes=0) as data:
        assert await run_on(data, "SELECT 1") == 1
        assert data.cluster.stat().st_uid != 0


@root_only
async def test_root_can_run_programs_that_no_other_user_can_reach(
    data: DataDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    copies = Path("/var/cache") / f"similis-test-{os.getpid()}"
    request.addfinalizer(lambda: shutil.rmtree(copies, ignore_errors=True))
    monkeypatch.setattr(binaries, "COPIES", copies)
    monkeypatch.setattr(binaries, "is_reachable", lambda *_: False)
    assert await run_on(data, "SELECT 1") == 1
    assert len(list(copies.iterdir())) == 1


def test_a_file_is_reachable_only_if_every_directory_above_it_is(tmp_path: Path) -> None:
    file = tmp_path / "closed" / "program"
    file.parent.mkdir(mode=0o700)
    file.touch(mode=0o755)
    assert binaries.is_reachable(Path("/bin/sh"), Account(65533, 65533))
    assert not binaries.is_reachable(file, Account(65533, 65533))
