"""Temporary files: bounded by the disk, and never left."""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import pytest

from gateway.content.commands import StageCsv
from gateway.content.spool import Spool, write_file
from gateway.content.worker_main import answer
from servicekit.errors import NoSpace

# Every write to it says that the disk is full.
FULL = Path("/dev/full")


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


def files(folder: Path) -> list[str]:
    """Names of all files in a folder and those below."""
    return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_a_full_disk_is_no_space(size: int) -> None:
    with pytest.raises(NoSpace):
        await write_file(FULL, pieces(b"x" * size))


def test_a_full_disk_is_no_space_in_the_content_process_too(tmp_path: Path) -> None:
    source = tmp_path / "csv"
    source.write_bytes(b"http://a/b,http://c\n" * 1000)
    command = StageCsv(str(source), str(FULL), 10_000)
    outcome = json.loads(answer(json.dumps(["StageCsv", asdict(command)]).encode()))
    assert outcome["refusal"]["kind"] == "NoSpace"


async def test_what_is_written_is_what_came(tmp_path: Path) -> None:
    await write_file(tmp_path / "file", pieces(b"a", b"", b"b" * 2_000_000, b"c"))
    assert (tmp_path / "file").read_bytes() == b"a" + b"b" * 2_000_000 + b"c"


async def test_folders_go_with_what_they_hold(tmp_path: Path) -> None:
    async def fail(spool: Spool) -> None:
        async with spool.folder() as folder:
            (folder / "file").write_bytes(b"x")
            raise RuntimeError("stop")

    with Spool.open(tmp_path) as spool:
        with pytest.raises(RuntimeError, match="stop"):
            await fail(spool)
        assert files(tmp_path) == ["lock"]
    assert not files(tmp_path)


def test_folders_of_others_that_run_are_left_alone(tmp_path: Path) -> None:
    with Spool.open(tmp_path), Spool.open(tmp_path):
        assert len(list(tmp_path.iterdir())) == 2
    assert not list(tmp_path.iterdir())
