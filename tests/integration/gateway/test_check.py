"""`similis check` with the settings of a gateway or a trainer: what works, and what to change."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.certificates import Authority
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.conftest import UNREACHABLE, Parts
from tests.integration.keyed_qdrant import READ_ONLY_KEY, keyed_qdrant

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass(frozen=True)
class Checked:
    """How a check ended. lines: what it said about each part, after its level."""

    status: int
    lines: dict[str, tuple[str, str]]
    error: str


async def check(service: str, *arguments: str, **settings: object) -> Checked:
    """Run `similis check` with only these settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIMILIS_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "standalone", "check", service, *arguments),
        env={**inherited, **{f"SIMILIS_{name.upper()}": str(value) for name, value in settings.items()}},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, error = await process.communicate()
    lines = {}
    for line in output.decode().splitlines():
        level, rest = line.split(maxsplit=1)
        part, _, text = rest.partition("  ")
        lines[part] = (level, text.strip())
    assert process.returncode is not None
    return Checked(process.returncode, lines, error.decode())


async def test_a_gateway_that_has_everything_passes(parts: Parts, embedder: RunningEmbedder, tmp_path: Path) -> None:
    found = await check(
        "gateway",
        database_url=parts.database_url,
        qdrant_address=parts.qdrant_address,
        embedder_address=embedder.target,
        trainer_address=UNREACHABLE,
        spool_directory=tmp_path,
    )
    assert found.status == 0, found
    assert found.error == ""
    levels = {part: level for part, (level, _) in found.lines.items()}
    # The size of the disk and the limits are those of the machine.
    assert {levels.pop("spool"), levels.pop("limits")} <= {"ok", "warning"}
    assert levels == {"postgres": "ok", "schema": "ok", "qdrant": "ok", "embedder": "ok", "trainer": "warning"}
    assert "nothing listens there. Finetunes wait until a trainer is ready." in found.lines["trainer"][1]


async def test_everything_that_is_wrong_is_named_with_its_setting(
    parts: Parts, embedder: RunningEmbedder, tmp_path: Path
) -> None:
    authority = Authority()
    expired = authority.issue(tmp_path / "tls", days=-1)
    async with keyed_qdrant() as qdrant:
        found = await check(
            "gateway",
            database_url=urlsplit(parts.database_url)._replace(path="/nothing").geturl(),
            qdrant_address=qdrant,
            embedder_address="dns:///nowhere.invalid:9001",
            trainer_address=embedder.target,
            download_ca_file="/no/such/file",
            download_proxy=f"http://{UNREACHABLE}",
            spool_directory="/proc/nowhere",
            tls_cert_file=expired.certificate,
            tls_key_file=expired.key,
            tls_ca_file=expired.authorities,
        )
    assert found.status == 1
    # gRPC has its own log, which repeats what is wrong with TLS.
    assert found.error == ""
    expected = {
        "postgres": "The database that SIMILIS_DATABASE_URL names does not exist.",
        "schema": "(database_missing)",
        "qdrant": "SIMILIS_QDRANT_API_KEY is missing or wrong.",
        "embedder": "dns:///nowhere.invalid:9001: the name does not resolve.",
        "certificate": "A certificate in SIMILIS_TLS_CERT_FILE expired on",
        "spool": "/proc/nowhere cannot be written",
        "download authorities": "/no/such/file cannot be read: No such file or directory.",
        "download proxy": f"{UNREACHABLE} cannot be reached: Connection refused.",
    }
    for part, words in expected.items():
        level, text = found.lines[part]
        assert level == "FAILED", part
        assert words in text
    assert found.lines["authorities"][0] == "ok"
    assert "it does not use TLS" in found.lines["trainer"][1]


async def test_a_trainer_needs_a_key_that_may_write(parts: Parts) -> None:
    async with keyed_qdrant() as qdrant:
        found = await check(
            "trainer",
            database_url=parts.database_url,
            qdrant_address=qdrant,
            qdrant_api_key=READ_ONLY_KEY,
            embedder_address=UNREACHABLE,
        )
    assert found.status == 1
    level, text = found.lines["qdrant"]
    assert (level, "SIMILIS_QDRANT_API_KEY lacks a permission" in text) == ("FAILED", True), text
