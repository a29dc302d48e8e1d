"""Downloaded images are kept for their views, within limits, until their job ends."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from catalog.jobs import Job, JobState
from servicekit.errors import Unavailable
from trainer.fetch import kept_images as module
from trainer.fetch.kept_images import kept_images

NOW = datetime(2026, 11, 30, tzinfo=UTC)
JOB = Job(7, 1, 1, JobState.RUNNING, "fetching", 0.0, False, False, 1, 1, False, None, None, NOW)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_an_image_is_there_until_it_is_forgotten(directory: Path) -> None:
    async with kept_images(JOB, directory, None) as kept:
        assert await kept.keep("http://a/1", b"one")
        assert await kept.read("http://a/1") == b"one"
        kept.forget("http://a/1")
        assert await kept.read("http://a/1") is None
    assert names(directory) == []


async def test_no_more_than_the_limit_is_kept_also_in_the_next_attempt(directory: Path) -> None:
    async def first_attempt() -> None:
        async with kept_images(JOB, directory, 10) as kept:
            assert await kept.keep("http://a/1", b"123456")
            assert not await kept.keep("http://a/2", b"12345")
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await first_attempt()
    async with kept_images(JOB, directory, 10) as kept:
        assert await kept.read("http://a/1") == b"123456"
        assert not await kept.keep("http://a/2", b"12345")
        assert await kept.keep("http://a/3", b"1234")


async def test_a_failed_job_keeps_nothing(directory: Path) -> None:
    async def attempt() -> None:
        async with kept_images(JOB, directory, None) as kept:
            await kept.keep("http://a/1", b"one")
            raise Unavailable("gone")

    with pytest.raises(Unavailable):
        await attempt()
    assert names(directory) == []


async def test_folders_that_nobody_has_used_for_hours_are_removed(directory: Path) -> None:
    for name, age in (("1-0.0", module.IDLE_SECONDS + 60), ("2-0.0", 60)):
        folder = directory / name
        folder.mkdir(parents=True)
        (folder / "image").write_bytes(b"x")
        then = datetime.now(UTC).timestamp() - age
        os.utime(folder, (then, then))
    async with kept_images(JOB, directory, None):
        assert [name.split("-")[0] for name in names(directory)] == ["2", "7"]


async def test_without_a_usable_folder_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    elsewhere = tmp_path / "link"
    elsewhere.symlink_to(tmp_path)
    for directory in (tmp_path / "file", elsewhere, Path("/proc/nowhere")):
        async with kept_images(JOB, directory, None) as kept:
            assert not await kept.keep("http://a/1", b"one")
            assert await kept.read("http://a/1") is None


async def test_nothing_is_kept_on_a_disk_that_is_nearly_full(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 1 << 60)
    async with kept_images(JOB, directory, None) as kept:
        assert not await kept.keep("http://a/1", b"one")
