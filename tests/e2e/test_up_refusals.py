"""Commands that cannot run say why in one clear line, and end with an exit status that is not 0."""

import os
import socket
import time
from pathlib import Path

import asyncpg
import pytest

from standalone.instance.data_directory import DataDirectory, open_data_directory
from standalone.postgres.damage import EXIT_DAMAGED
from standalone.postgres.database import running_database
from standalone.schema import migrate_data_directory
from tests.e2e.running_instance import data_with_shared_models, similis


def refusal(*arguments: str, environment: dict[str, str] | None = None, status: int = 1) -> str:
    """Return the last line on standard error of a command that must fail."""
    done = similis(*arguments, environment=environment)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("similis: ")
    assert "Traceback" not in done.stderr
    return last


@pytest.fixture
async def newer_data(tmp_path: Path) -> Path:
    """The data directory of a stopped instance with a schema from the future."""
    async with open_data_directory(tmp_path / "data", min_free_bytes=0) as data, running_database(data) as url:
        await migrate_data_directory(url)
        connection = await asyncpg.connect(url)
        await connection.execute("INSERT INTO schema_migrations (version, name) VALUES (9999, 'future')")
        await connection.close()
    return data.root


@pytest.fixture
async def old_data(tmp_path: Path) -> tuple[DataDirectory, Path]:
    """The data directory of a stopped instance, and the file of a system table of its database."""
    async with open_data_directory(tmp_path / "data", min_free_bytes=0) as data, running_database(data) as url:
        await migrate_data_directory(url)
        connection = await asyncpg.connect(url)
        file = await connection.fetchval("SELECT pg_relation_filepath('pg_class')")
        await connection.close()
    return data, data.cluster / file


@pytest.mark.parametrize("file", ["of the database", "of the server"])
def test_a_damaged_database_ends_the_start_with_a_status_of_its_own(
    old_data: tuple[DataDirectory, Path], file: str
) -> None:
    """It used to wait for five minutes without a word, and systemd then tried again."""
    data, table = old_data
    damaged = table if file == "of the database" else data.cluster / "global" / "1262"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    started = time.monotonic()
    line = refusal("up", "--data", str(data.root), "--port", "0", status=EXIT_DAMAGED)
    assert time.monotonic() - started < 60
    assert line.startswith(f"similis: the database in {data.cluster} is damaged: ")
    assert str(data.logs / "postgres.log") in line
    assert "similis restore BACKUP --data NEW_DIRECTORY" in line


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        line = refusal("up", "--data", str(tmp_path / "data"), "--port", port)
    assert line == f"similis: cannot listen on 127.0.0.1:{port}: Address already in use. See --host and --port"
    assert not (tmp_path / "data").exists()


def test_the_same_port_for_api_and_metrics_is_refused(tmp_path: Path) -> None:
    """The gateway used to notice this when everything else had started."""
    line = refusal("up", "--data", str(tmp_path / "data"), "--port", "8080", "--metrics-port", "8080", status=78)
    assert line == "similis: --port and --metrics-port must differ, both are 8080"
    assert not (tmp_path / "data").exists()


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    line = refusal("up", "--data", str(tmp_path), "--port", "0")
    assert line == (
        f"similis: {tmp_path} is neither empty nor a data directory of Similis: it contains 'thesis.tex'. "
        "Choose another directory with --data"
    )


def test_too_little_disk_space_is_refused(tmp_path: Path) -> None:
    environment = {"SIMILIS_MIN_FREE_DISK_BYTES": str(1 << 62)}
    line = refusal("up", "--data", str(tmp_path / "data"), "--port", "0", environment=environment)
    assert "not enough disk space" in line


def test_a_corrupt_database_is_refused(newer_data: Path) -> None:
    (newer_data / "postgres" / "data" / "global" / "pg_control").write_bytes(os.urandom(8192))
    line = refusal("up", "--data", str(newer_data), "--port", "0", status=EXIT_DAMAGED)
    assert "is damaged" in line


def test_a_database_of_a_newer_version_is_refused(newer_data: Path) -> None:
    line = refusal("up", "--data", str(newer_data), "--port", "0")
    assert "the database was written by a newer version of Similis (schema version 9999" in line


def test_a_wrong_setting_is_refused() -> None:
    line = refusal("up", environment={"SIMILIS_START_TIMEOUT_SECONDS": "soon"}, status=78)
    assert "SIMILIS_START_TIMEOUT_SECONDS" in line


def test_a_wrong_setting_of_a_child_ends_with_status_78(tmp_path: Path) -> None:
    data = data_with_shared_models(tmp_path / "data")
    environment = {"SIMILIS_LEASE_SECONDS": "soon"}
    line = refusal("up", "--data", str(data), "--port", "0", environment=environment, status=78)
    assert line.startswith("similis: trainer: SIMILIS_LEASE_SECONDS: ")


def test_keys_in_a_missing_data_directory_are_an_error(tmp_path: Path) -> None:
    line = refusal("keys", "list", "--data", str(tmp_path / "data"))
    assert line == f"similis: {tmp_path / 'data'} is not a data directory of Similis. Give its path with --data"
    assert not (tmp_path / "data").exists()


def test_keys_in_a_database_that_does_not_answer_are_an_error() -> None:
    line = refusal("keys", "list", "--database-url", "postgresql://similis@127.0.0.1:1/similis")
    assert line == "similis: The database is not available."
