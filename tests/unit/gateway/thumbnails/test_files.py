"""Thumbnails on disk: never more bytes than allowed, and never for longer."""

from pathlib import Path

import pytest

from gateway.thumbnails import files
from gateway.thumbnails.files import ThumbnailFiles


def sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.iterdir()]


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


async def test_the_oldest_thumbnails_make_room(tmp_path: Path) -> None:
    kept = ThumbnailFiles(tmp_path, most_bytes=250, seconds=60)
    for name in "abc":
        await kept.put(name, 640, name.encode() * 100)
    assert [await kept.get(name, 640) for name in "abc"] == [None, b"b" * 100, b"c" * 100]
    assert sum(sizes(tmp_path)) == kept.bytes == 200
    assert await kept.get("b", 1600) is None


async def test_one_that_is_larger_than_all_room_is_not_kept(tmp_path: Path) -> None:
    kept = ThumbnailFiles(tmp_path, most_bytes=50, seconds=60)
    await kept.put("a", 640, b"a" * 100)
    assert await kept.get("a", 640) is None
    assert sizes(tmp_path) == []


async def test_a_thumbnail_is_removed_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(files, "_now", lambda: now)
    kept = ThumbnailFiles(tmp_path, most_bytes=250, seconds=60)
    await kept.put("a", 640, b"a")
    now = 1061.0
    assert await kept.get("a", 640) is None
    await kept.remove_old()
    assert sizes(tmp_path) == []


async def test_a_file_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    kept = ThumbnailFiles(tmp_path, most_bytes=250, seconds=60)
    await kept.put("a", 640, b"a")
    empty(tmp_path)
    assert await kept.get("a", 640) is None
    await kept.put("a", 640, b"a")
    assert await kept.get("a", 640) == b"a"
