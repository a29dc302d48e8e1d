"""Thumbnails on disk: a bounded number of bytes, each file for a bounded time."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class _File:
    size: int
    made: float


class ThumbnailFiles:
    """The files of this process, the oldest first. They are removed after `seconds`, or to make room."""

    def __init__(self, folder: Path, *, most_bytes: int, seconds: float) -> None:
        """folder: exists, and contains nothing else."""
        self._folder = folder
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._files: OrderedDict[str, _File] = OrderedDict()
        self.bytes = 0

    async def get(self, url: str, side: int) -> bytes | None:
        """Return the thumbnail of an image, or None."""
        name = _name(url, side)
        found = self._files.get(name)
        if found is None or found.made < _now() - self._seconds:
            return None
        try:
            return await asyncio.to_thread((self._folder / name).read_bytes)
        except OSError:
            self._forget(name)
            return None

    async def put(self, url: str, side: int, body: bytes) -> None:
        """Keep the thumbnail of an image. Without space on the disk, or for one that is too large, nothing is kept."""
        await self.remove_old(room_for=len(body))
        name = _name(url, side)
        if len(body) > self._most_bytes or name in self._files:
            return
        self._files[name] = _File(len(body), _now())
        self.bytes += len(body)
        try:
            await asyncio.to_thread(_write, self._folder / name, body)
        except OSError:
            self._forget(name)

    async def remove_old(self, *, room_for: int = 0) -> None:
        """Remove the files whose time is over, and the oldest ones until there is room for a number of bytes."""
        expired, names = _now() - self._seconds, []
        while self._files:
            name, oldest = next(iter(self._files.items()))
            if oldest.made >= expired and self.bytes + room_for <= self._most_bytes:
                break
            self._forget(name)
            names.append(name)
        if names:
            await asyncio.to_thread(_remove, [self._folder / name for name in names])

    def _forget(self, name: str) -> None:
        found = self._files.pop(name, None)
        if found is not None:
            self.bytes -= found.size


def _name(url: str, side: int) -> str:
    return hashlib.sha256(f"{side} {url}".encode("utf-8", "surrogatepass")).hexdigest()


def _write(path: Path, body: bytes) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(body)
    temporary.replace(path)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _now() -> float:
    return time.monotonic()
