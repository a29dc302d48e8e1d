"""Temporary files: a folder for each upload in a folder of this process, gone afterwards, whatever happens."""

import asyncio
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from servicekit.errors import NoSpace
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

PREFIX = "similis-gateway-"
LOCK = "lock"
WRITE_BYTES = 1024 * 1024
FULL = (errno.ENOSPC, errno.EDQUOT)


class Spool:
    """A folder that only this process uses."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    @classmethod
    @contextmanager
    def open(cls, parent: Path | None) -> Iterator["Spool"]:
        """A new folder in `parent` (None: the system's) while entered; what killed processes left there is removed."""
        place = parent or Path(tempfile.gettempdir())
        place.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(place)
        root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield cls(root)
        finally:
            shutil.rmtree(root, ignore_errors=True)
            os.close(descriptor)

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """A new folder while entered."""
        path = Path(tempfile.mkdtemp(dir=self._root))
        try:
            yield path
        finally:
            # In a thread, as files can be large; not awaited half: a cancelled request must not leave them.
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, path, ignore_errors=True))


async def write_file(path: Path, pieces: AsyncIterable[bytes]) -> None:
    """Writes pieces to a new file, away from the event loop. Raises NoSpace, and what the pieces raise."""
    # Opened here, not in a thread: nobody would close what a thread opens for a request that is cancelled meanwhile.
    with disk_errors(), path.open("wb") as file:
        buffer = bytearray()
        async for piece in pieces:
            buffer += piece
            if len(buffer) >= WRITE_BYTES:
                await asyncio.to_thread(file.write, bytes(buffer))
                buffer.clear()
        await asyncio.to_thread(file.write, bytes(buffer))


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turns a full disk into NoSpace."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoSpace("The disk is full.") from error
        raise


def _remove_leftovers(place: Path) -> None:
    for path in place.glob(f"{PREFIX}*"):
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
