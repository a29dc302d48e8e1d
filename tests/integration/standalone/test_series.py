"""`similis backup --keep` and `similis backup --check`."""

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from catalog.postgres.migrate import migrate
from catalog.settings import StoreSettings
from servicekit.process.service import StartupError
from standalone import cli
from standalone.backup.archive import MANIFEST
from standalone.backup.create import create_backup
from standalone.backup.series import ABANDONED_SECONDS, NAMES, add_backup
from standalone.backup.stores import instance_stores, running_stores, server_stores
from standalone.instance.data_directory import open_data_directory

PREFIX = "similis"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty instance."""
    folder = tmp_path_factory.mktemp("series") / "data"

    async def make() -> None:
        async with open_data_directory(folder, min_free_bytes=0) as data, running_stores(data, PREFIX) as stores:
            await migrate(stores.database_url)

    asyncio.run(make())
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "backup"
    asyncio.run(create_backup(instance_stores(data, PREFIX), folder))
    return folder


@pytest.fixture
def parent(finished: Path, tmp_path: Path) -> Path:
    """A folder with backups of four days, and with what looks like some."""
    parent = tmp_path / "backups"
    for name in ("2026-11-01T02-00-00Z", "2026-11-02T02-00-00Z", "2026-11-03T02-00-00Z", "2026-11-04T02-00-00Z"):
        shutil.copytree(finished, parent / name)
    shutil.copytree(finished, parent / "before-the-move")
    shutil.copytree(finished, parent / "2026-10-31T02-00-00Z")
    (parent / "2026-10-31T02-00-00Z" / MANIFEST).unlink()
    for name in ("2026-10-30T02-00-00Z.partial", "2026-11-04T02-30-00Z.partial", "notes.partial"):
        (parent / name / "vectors").mkdir(parents=True)
    for path in (parent / "2026-10-30T02-00-00Z.partial", parent / "notes.partial"):
        long_ago = time.time() - 2 * ABANDONED_SECONDS
        for part in (*path.rglob("*"), path):
            os.utime(part, (long_ago, long_ago))
    return parent


def names(parent: Path) -> set[str]:
    return {path.name for path in parent.iterdir()}


OTHERS = {"before-the-move", "2026-10-31T02-00-00Z", "2026-11-04T02-30-00Z.partial", "notes.partial"}


async def test_the_newest_backups_are_kept_and_nothing_else_is_removed(data: Path, parent: Path) -> None:
    before = names(parent)
    await add_backup(instance_stores(data, PREFIX), parent, 3)
    (new,) = names(parent) - before
    assert NAMES.fullmatch(new)
    assert names(parent) == {new, "2026-11-03T02-00-00Z", "2026-11-04T02-00-00Z"} | OTHERS


async def test_a_backup_that_fails_removes_no_backup(parent: Path) -> None:
    before = names(parent)
    nowhere = StoreSettings(
        database_url=SecretStr("postgresql://similis@127.0.0.1:1/similis"), qdrant_address="127.0.0.1:1"
    )
    with pytest.raises(StartupError, match="The vector store is not available"):
        await add_backup(server_stores(nowhere), parent, 1)
    assert names(parent) == before - {"2026-10-30T02-00-00Z.partial"}


def test_the_command_makes_the_folder_and_says_its_name(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = tmp_path / "new" / "backups"
    assert cli.run(["backup", str(parent), "--data", str(data), "--keep", "2"]) == 0
    (name,) = names(parent)
    # Other tests of this process may log.
    assert capsys.readouterr().out.splitlines()[-1] == str(parent / name)
    with pytest.raises(SystemExit) as ended:
        cli.run(["backup", str(parent), "--keep", "0"])
    assert ended.value.code == 2


def test_a_check_tells_a_good_backup_from_a_changed_or_incomplete_one(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(finished, backup)
    check = ["backup", "--check", str(backup)]
    assert cli.run(check) == 0
    assert "complete and unchanged: 0 collections, 0 images, made at 2" in capsys.readouterr().out
    file = backup / "database" / "collections.copy.gz"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert cli.run(check) == 1
    assert "damaged: database/collections.copy.gz has changed" in capsys.readouterr().err
    file.unlink()
    assert cli.run(check) == 1
    assert "incomplete: database/collections.copy.gz" in capsys.readouterr().err
    file.write_bytes(content)
    manifest = (backup / MANIFEST).read_text()
    (backup / MANIFEST).write_text(manifest.replace('"images": 0', '"images": 7'))
    assert cli.run(check) == 1
    assert "damaged: manifest.json has changed" in capsys.readouterr().err
    (backup / MANIFEST).unlink()
    assert cli.run(check) == 1
    assert "is not a backup of Similis" in capsys.readouterr().err
