"""Temporary files: one folder per upload inside a folder of this process, always removed afterwards."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from gateway.content.disk_errors import disk_errors
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

PREFIX = "similis-gateway-"
LOCK = "lock"
WRITE_BYTES = 1024 * 1024


class Spool:
    """The folder of this process."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """The folder's path."""
        return self._root

    def subfolder(self, name: str) -> Path:
        """Create a folder that is there as long as this process."""
        path = self._root / name
        path.mkdir()
        return path

    @classmethod
    @contextmanager
    def open(cls, parent: Path | None) -> Iterator["Spool"]:
        """Create a folder while entered, and remove those of killed processes. parent: by default the system's."""
        directory = parent or Path(tempfile.gettempdir())
        directory.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(directory)
        root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=directory))
        descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield cls(root)
        finally:
            shutil.rmtree(root, ignore_errors=True)
            os.close(descriptor)

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """Create a folder for one upload while entered."""
        path = Path(tempfile.mkdtemp(dir=self._root))
        try:
            yield path
        finally:
            # In a thread, because files can be large. Shielded, because a cancelled request must remove them too.
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, path, ignore_errors=True))


async def write_file(path: Path, chunks: AsyncIterable[bytes]) -> None:
    """Write a new file without blocking the event loop. Raises NoSpace, and what reading the chunks raises."""
    # Not opened in a thread: if the request were cancelled meanwhile, nobody would close the file.
    with disk_errors(), path.open("wb") as file:
        buffer = bytearray()
        async for chunk in chunks:
            buffer += chunk
            if len(buffer) >= WRITE_BYTES:
                await asyncio.to_thread(file.write, bytes(buffer))
                buffer.clear()
        await asyncio.to_thread(file.write, bytes(buffer))


def _remove_leftovers(directory: Path) -> None:
    for path in directory.glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            log.info("spool_leftovers_removed", path=path.name)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)
