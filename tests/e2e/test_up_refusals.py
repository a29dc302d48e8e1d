"""What keeps `similis up` from starting is one clear line and a status that is not 0."""

import asyncio
import os
import socket
from pathlib import Path

import asyncpg
import pytest

from standalone.instance.data_directory import opened
from standalone.instance.run_directory import run_directory
from standalone.postgres.server import database_url, ensure_database, postgres_spec, prepare
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import supervised
from standalone.schema import bring_up_to_date
from tests.e2e.running_instance import similis


def refusal(*arguments: str, environment: dict[str, str] | None = None, status: int = 1) -> str:
    """The line on standard error of a command that has to fail."""
    done = similis(*arguments, environment=environment)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("similis: ")
    assert "Traceback" not in done.stderr
    return last


@pytest.fixture
async def database_of_an_instance(tmp_path: Path) -> Path:
    """The data directory of an instance that was stopped, and whose schema is from the future."""
    async with opened(tmp_path / "data", min_free_bytes=0) as data:
        output = ChildLog("postgres", data.logs)
        with run_directory(data) as sockets:
            await prepare(data, output)
            async with supervised(postgres_spec(data, sockets), output, asyncio.Event()) as postgres:
                await postgres.wait_ready()
                await ensure_database(sockets)
                await bring_up_to_date(database_url(sockets))
                connection = await asyncpg.connect(database_url(sockets))
                await connection.execute("INSERT INTO schema_migrations (version, name) VALUES (9999, 'future')")
                await connection.close()
    return data.root


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        said = refusal("up", "--data", str(tmp_path / "data"), "--port", port)
    assert said == f"similis: cannot listen on 127.0.0.1:{port}: Address already in use"
    assert not (tmp_path / "data").exists()


def test_one_port_for_api_and_metrics(tmp_path: Path) -> None:
    """Once said by the gateway, and only when everything else had started."""
    said = refusal("up", "--data", str(tmp_path / "data"), "--port", "8080", "--metrics-port", "8080")
    assert said == "similis: the API and the metrics of all processes cannot both have port 8080"
    assert not (tmp_path / "data").exists()


def test_a_directory_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    said = refusal("up", "--data", str(tmp_path), "--port", "0")
    assert said == f"similis: {tmp_path} is not a data directory of Similis, and not empty (it holds 'thesis.tex')"


def test_too_little_disk(tmp_path: Path) -> None:
    environment = {"SIMILIS_MIN_FREE_DISK_BYTES": str(1 << 62)}
    said = refusal("up", "--data", str(tmp_path / "data"), "--port", "0", environment=environment)
    assert "too little disk space" in said


def test_a_corrupt_database(database_of_an_instance: Path) -> None:
    (database_of_an_instance / "postgres" / "data" / "global" / "pg_control").write_bytes(os.urandom(8192))
    said = refusal("up", "--data", str(database_of_an_instance), "--port", "0")
    assert "postgres cannot start" in said


def test_a_database_of_a_newer_version(database_of_an_instance: Path) -> None:
    said = refusal("up", "--data", str(database_of_an_instance), "--port", "0")
    assert "the database was written by a newer version of Similis (schema 9999" in said


def test_a_wrong_setting() -> None:
    said = refusal("up", environment={"SIMILIS_START_TIMEOUT_SECONDS": "soon"}, status=78)
    assert "SIMILIS_START_TIMEOUT_SECONDS" in said


def test_keys_of_an_instance_that_is_not_there(tmp_path: Path) -> None:
    said = refusal("keys", "list", "--data", str(tmp_path / "data"))
    assert said == f"similis: {tmp_path / 'data'} is not a data directory of Similis"
    assert not (tmp_path / "data").exists()


def test_keys_of_a_database_that_does_not_answer() -> None:
    said = refusal("keys", "list", "--database-url", "postgresql://similis@127.0.0.1:1/similis")
    assert said == "similis: The database is not available."
