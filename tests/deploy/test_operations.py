"""The operators' handbook matches the code: codes, commands, values of the chart, panels.

`tests/architecture/test_documents.py` checks what is the same for all documents.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import yaml

from catalog.collections import Collections
from catalog.postgres.database import Database
from catalog.postgres.migrate import migrate
from deploy.grafana.rows import ROWS
from servicekit.download.failures import Reason
from standalone import cli
from standalone.postgres.binaries import program_directory
from tests.deploy.chart import CHART
from tests.e2e.machine.handbook import HANDBOOK, ROOT, block, blocks
from tests.integration.gateway.parts import running_postgres
from tests.packages import modules

MIGRATION = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
# Errors that can end a job come from the trainer and from the catalog's clients of Postgres and Qdrant.
SOURCES = [
    *(ROOT / "trainer").rglob("*.py"),
    ROOT / "catalog" / "postgres" / "database.py",
    *(ROOT / "catalog" / "vectors").glob("*.py"),
]


# Commands that need arguments, where only their name is mentioned.
NAMES = ("up", "keys", "migrate-from", "backup", "restore")


def rows() -> dict[str, list[str]]:
    """Return the other columns of each table row, by the codes in its first column."""
    found: dict[str, list[str]] = {}
    for line in HANDBOOK.splitlines():
        if line.lstrip().startswith("| `"):
            first, *others = [cell.strip() for cell in line.strip().strip("|").split("|")]
            found |= dict.fromkeys(re.findall(r"`(\w+)`", first), others)
    return found


@pytest.mark.parametrize("reason", Reason, ids=[reason.value for reason in Reason])
def test_every_reason_of_a_failed_image_is_explained(reason: Reason) -> None:
    assert rows()[reason.value][0] == ("yes" if reason.is_transient else "no")


def test_every_error_that_ends_a_finetune_is_explained() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    codes = set(re.findall(r'code ?= ?"(\w+)"', text))
    assert len(codes) > 7
    assert codes - set(rows()) == set()


def test_every_code_and_event_exists() -> None:
    """Names like `job_failed`, which operators search for in logs and answers."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in modules())
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", HANDBOOK))
    assert len(named) > 50
    # A setting of Qdrant, and a code that begins with the name of an upstream.
    named -= {"read_only_api_key", "embedder_tls_failed"}
    assert {name for name in named if not re.search(rf"\b{name}\b", source)} == set()


def test_every_value_of_the_chart_exists() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    named = re.findall(r"`([a-z]\w*(?:\.[a-z]\w*)+)(?:: [^`]*)?`", HANDBOOK)
    named = [name for name in named if name.partition(".")[0] in values]
    assert len(named) > 8
    for name in named:
        value: Any = values
        for part in name.split("."):
            assert part in value, name
            value = value[part]


def test_every_command_is_valid() -> None:
    texts = (*blocks(), MIGRATION, *re.findall(r"`([^`\n]+)`", HANDBOOK + MIGRATION))
    text = re.sub(r"\\\n", " ", "\n".join(texts))
    commands = {
        found.strip()
        for found in re.findall(r"(?:^|[\s/])similis ((?:up|keys|migrate|check|backup|restore)\b[^\n#`|]*)", text)
    }
    commands = {command for command in commands if "…" not in command and command not in NAMES}
    assert len(commands) > 8
    for command in commands:
        arguments = ["1" if word == "ID" else word for word in shlex.split(command)]
        cli._parser().parse_args(arguments)


def test_every_panel_exists() -> None:
    titles = {panel.title for row in ROWS for panel in row.panels}
    runbook = HANDBOOK.partition("## Runbook")[2]
    named = set(re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", runbook)) - {"italics"}
    assert len(named) > 10
    assert named - titles == set()


async def test_a_dump_can_replace_the_schema_of_a_newer_release(tmp_path: Path) -> None:
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
