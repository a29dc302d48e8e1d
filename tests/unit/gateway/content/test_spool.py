"""Temporary files: a full disk is reported, and no file is left behind."""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import pytest

from gateway.content.commands import StageCsv
from gateway.content.spool import Spool, write_file
from gateway.content.worker_main import answer
from servicekit.errors import NoSpace

# Every write to it fails because the disk is full.
FULL = Path("/dev/full")


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def files(folder: Path) -> list[str]:
    """List the names of all files in a folder and its subfolders."""
    return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_a_full_disk_is_reported(size: int) -> None:
    with pytest.raises(NoSpace):
        await write_file(FULL, stream(b"x" * size))


def test_a_content_process_reports_a_full_disk(tmp_path: Path) -> None:
    source = tmp_path / "csv"
    source.write_bytes(b"http://a/b,http://c\n" * 1000)
    command = StageCsv(str(source), str(FULL), 10_000)
    outcome = json.loads(answer(json.dumps(["StageCsv", asdict(command)]).encode()))
    assert outcome["error"]["kind"] == "NoSpace"


async def test_a_file_contains_the_chunks_in_order(tmp_path: Path) -> None:
    await write_file(tmp_path / "file", stream(b"a", b"", b"b" * 2_000_000, b"c"))
    assert (tmp_path / "file").read_bytes() == b"a" + b"b" * 2_000_000 + b"c"


async def test_folders_are_removed_with_their_files(tmp_path: Path) -> None:
    async def fail(spool: Spool) -> None:
        async with spool.folder() as folder:
            (folder / "file").write_bytes(b"x")
            raise RuntimeError("stop")

    with Spool.open(tmp_path) as spool:
        with pytest.raises(RuntimeError, match="stop"):
            await fail(spool)
        assert files(tmp_path) == ["lock"]
    assert not files(tmp_path)


def test_the_folder_of_another_running_process_is_left_alone(tmp_path: Path) -> None:
    with Spool.open(tmp_path), Spool.open(tmp_path):
        assert len(list(tmp_path.iterdir())) == 2
    assert not list(tmp_path.iterdir())
