"""The first key and the `keys` commands on a real database."""

import asyncio
import os
import re
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.collections import Collections
from catalog.keys.api_keys import ApiKeys
from catalog.keys.permissions import Permissions, Scope
from catalog.postgres.database import Database
from catalog.postgres.migrate import migrations
from servicekit.process.service import StartupError
from standalone.admin_key import ensure_admin_key
from standalone.keys import create_key, delete_key, ensure_key, list_keys
from standalone.postgres.server import database_url
from standalone.schema import migrate_data_directory, migrate_database


async def test_the_first_key_is_created_once_in_a_file_for_its_owner(url: str, tmp_path: Path) -> None:
    await migrate_data_directory(url)
    file = tmp_path / "admin-key"
    async with Database.open(url) as database:
        keys = ApiKeys(database)
        assert await ensure_admin_key(keys, file)
        assert file.stat().st_mode & 0o777 == 0o600
        assert await keys.is_valid(file.read_text().strip())
        file.unlink()
        assert not await ensure_admin_key(keys, file), "an owner who moved the file away gets no second key"
        assert not file.exists()


async def test_a_first_key_that_was_never_written_to_its_file_is_replaced(url: str, tmp_path: Path) -> None:
    await migrate_data_directory(url)
    file = tmp_path / "admin-key"
    async with Database.open(url) as database:
        keys = ApiKeys(database)
        (tmp_path / "admin-key.pending").touch()
        lost = await keys.create("admin")
        assert await ensure_admin_key(keys, file)
        assert not await keys.is_valid(lost)
        assert await keys.is_valid(file.read_text().strip())
        assert not (tmp_path / "admin-key.pending").exists()


async def test_a_key_is_created_listed_without_its_secret_and_deleted(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await migrate_data_directory(url)
    await create_key(url, "museum")
    secret = capsys.readouterr().out.splitlines()[-1]
    async with Database.open(url) as database:
        assert await ApiKeys(database).is_valid(secret)
        await list_keys(url)
        listed = capsys.readouterr()
        assert "museum" in listed.out
        assert secret.partition(".")[2] not in listed.out + listed.err
        await delete_key(url, int(secret.partition(".")[0]))
        assert not await ApiKeys(database).is_valid(secret)
    with pytest.raises(StartupError, match="there is no key"):
        await delete_key(url, int(secret.partition(".")[0]))


async def test_the_list_shows_what_a_key_may_do_and_marks_keys_that_expire_soon(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await migrate_data_directory(url)
    now = datetime.now(UTC)
    async with Database.open(url) as database:
        collection = await Collections(database).create("coins")
        await create_key(url, "all")
        await create_key(url, "narrow", Permissions(Scope.WRITE, frozenset({collection}), now + timedelta(days=13)))
        await create_key(url, "later", Permissions(Scope.READ, None, now + timedelta(days=15)))
        await create_key(url, "old", Permissions(expires_at=now - timedelta(days=1)))
    capsys.readouterr()
    await list_keys(url)
    header, *rows = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
    assert header[4:] == ["SCOPE", "COLLECTIONS", "EXPIRES"]
    assert [(row[1], row[4], row[5], re.sub(r"^2.*\+00:00", "time", row[6])) for row in rows] == [
        ("all", "admin", "all", "never"),
        ("narrow", "write", str(collection), "time (soon)"),
        ("later", "read", "all", "time"),
        ("old", "admin", "all", "time (expired)"),
    ]
    with pytest.raises(StartupError, match="no collection with the id 99"):
        await create_key(url, "none", Permissions(collections=frozenset({99})))


async def test_a_key_is_imported_from_a_file(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await migrate_data_directory(url)
    file = tmp_path / "key"
    secret = secrets.token_hex(32)
    file.write_text(f"{secret}\n")
    await ensure_key(url, "operator", file)
    assert "is now valid" in capsys.readouterr().err
    await ensure_key(url, "operator", file)
    shown = capsys.readouterr()
    assert "was already valid" in shown.err
    assert secret not in shown.out + shown.err
    async with Database.open(url) as database:
        assert await ApiKeys(database).is_valid(secret)
    file.write_text("swordfish")
    with pytest.raises(StartupError, match="32 to 200"):
        await ensure_key(url, "operator", file)
    with pytest.raises(StartupError, match="cannot read the key file"):
        await ensure_key(url, "operator", tmp_path / "none")


async def test_keys_of_a_server_need_its_migration_and_accept_a_newer_schema(url: str) -> None:
    with pytest.raises(StartupError, match="similis migrate"):
        await create_key(url, "museum")
    assert await migrate_database(url) == [f"{migration.version:04}_{migration.name}" for migration in migrations()]
    async with Database.open(url) as database, database.connection() as connection:
        await connection.execute("INSERT INTO schema_migrations (version, name) VALUES (9999, 'from_the_future')")
    assert await migrate_database(url) == []
    await create_key(url, "museum")


async def test_commands_use_the_server_whose_url_is_in_a_file(url: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(url)
    (tmp_path / "key").write_text(secrets.token_hex(32))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "SIMILIS_DATABASE_URL_FILE": str(tmp_path / "url")}

    async def similis(*arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "standalone", *arguments),
            env=environment,
            cwd=elsewhere,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    ensure = ("keys", "ensure", "--name", "operator", "--secret-file", str(tmp_path / "key"))
    status, output = await similis(*ensure)
    assert (status, "similis migrate" in output) == (1, True)
    assert (await similis("migrate"))[0] == 0
    assert (await similis(*ensure))[0] == 0
    async with Database.open(url) as database:
        assert await ApiKeys(database).is_valid((tmp_path / "key").read_text())
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\nb"])
async def test_a_key_needs_a_printable_name(name: str) -> None:
    with pytest.raises(StartupError, match="printable characters"):
        await create_key("postgresql://nobody@/nothing", name)


async def test_a_newer_schema_in_a_data_directory_is_refused(url: str) -> None:
    await migrate_data_directory(url)
    async with Database.open(url) as database, database.connection() as connection:
        await connection.execute("INSERT INTO schema_migrations (version, name) VALUES (9999, 'from_the_future')")
    with pytest.raises(StartupError, match="newer version of Similis"):
        await migrate_data_directory(url)


async def test_a_database_that_does_not_answer_is_a_startup_error(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="not available"):
        await migrate_data_directory(database_url(tmp_path))
