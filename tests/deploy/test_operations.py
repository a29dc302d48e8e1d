"""The operators' handbook knows what the services say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from catalog.collections import Collections
from catalog.postgres.database import Database
from catalog.postgres.migrate import migrate
from servicekit.process.service import EXIT_CONFIG
from standalone.postgres.binaries import program_directory
from tests.integration.gateway.parts import running_postgres
from trainer.download.failures import Reason

ROOT = Path(__file__).parents[2]
HANDBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
# What can end a job: errors of the trainer's own, and of what it reads and writes.
SOURCES = [
    *(ROOT / "trainer").rglob("*.py"),
    ROOT / "catalog" / "postgres" / "database.py",
    *(ROOT / "catalog" / "vectors").glob("*.py"),
]


def rows() -> dict[str, list[str]]:
    """Of each code in the first column of a table: the other columns."""
    found: dict[str, list[str]] = {}
    for line in HANDBOOK.splitlines():
        if line.lstrip().startswith("| `"):
            first, *others = [cell.strip() for cell in line.strip().strip("|").split("|")]
            found |= dict.fromkeys(re.findall(r"`(\w+)`", first), others)
    return found


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_each_reason_why_an_image_failed_is_explained(reason: Reason) -> None:
    assert rows()[reason.value][0] == ("yes" if reason.is_transient else "no")


def test_each_error_that_ends_a_finetune_is_explained() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    codes = set(re.findall(r'code ?= ?"(\w+)"', text))
    assert len(codes) > 7
    assert codes - set(rows()) == set()


def test_how_private_addresses_are_allowed_is_said_for_each_way_to_run_it() -> None:
    """`similis up` goes by its option alone, whatever the environment says."""
    (said,) = rows()["blocked_address"][1:]
    for name in ("--allow-private-addresses", "trainer.allowPrivateAddresses", "SIMILIS_ALLOW_PRIVATE_ADDRESSES=true"):
        assert name in said
    assert "?force=true" in said, "where the others were indexed, a finetune finds nothing new"


def block(*words: str) -> str:
    """The one block of the handbook, without its fences, that has all of these words."""
    (found,) = (
        text
        for text in re.findall(r"^```\w+\n(.*?)^```", HANDBOOK, re.DOTALL | re.MULTILINE)
        if all(w in text for w in words)
    )
    return str(found)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        # It belongs to an init, which no package brings to a machine that runs another one.
        pytest.skip("this machine is not run by systemd: the unit was not verified")
    unit = block("[Service]", "ExecStart=").replace("/opt/similis/.venv/bin/", f"{Path(sys.executable).parent}/")
    (tmp_path / "similis.service").write_text(unit, encoding="utf-8")
    done = subprocess.run(
        [analyze, "verify", str(tmp_path / "similis.service")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_tries_no_wrong_setting_again() -> None:
    """What `similis up` ends with there; argparse ends with 2."""
    unit = block("[Service]", "ExecStart=")
    command = re.search(r"^ExecStart=\S*/similis (.*)$", unit, re.MULTILINE)
    assert command is not None
    environment = {**os.environ, "SIMILIS_LOG_LEVEL": "loud"}
    similis = [sys.executable, "-m", "standalone"]
    wrong = subprocess.run([*similis, *command[1].split()], env=environment, capture_output=True, check=False)
    unknown = subprocess.run([*similis, "up", "--unknown"], capture_output=True, check=False)
    assert wrong.returncode == EXIT_CONFIG
    assert f"RestartPreventExitStatus={unknown.returncode} {wrong.returncode}\n" in unit


async def test_a_dump_is_restored_over_the_schema_of_a_newer_release(tmp_path: Path) -> None:
    (dump,) = re.findall(r"`docker compose exec -T postgres (pg_dump [^`]+)`", HANDBOOK)
    async with running_postgres(tmp_path / "data") as url, Database.open(url) as database:
        (sockets,) = parse_qs(urlsplit(url).query)["host"]
        path = f"{program_directory(None)}:{os.environ['PATH']}"
        environment = {"PATH": path, "PGHOST": sockets, "PGUSER": "similis"}

        def run(command: str) -> None:
            done = subprocess.run(
                ["/bin/sh", "-ec", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr

        kept = await Collections(database).create("kept")
        run(dump)
        await Collections(database).create("later")
        async with database.connection() as connection:
            await connection.execute("CREATE TABLE newer (collection_id bigint REFERENCES collections (id))")
        run(block("pg_restore"))
        async with database.connection() as connection:
            assert [row["id"] for row in await connection.fetch("SELECT id FROM collections")] == [kept]
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.execute("SELECT FROM newer")
        assert await migrate(url) == []
        assert await Collections(database).create("next") > kept
