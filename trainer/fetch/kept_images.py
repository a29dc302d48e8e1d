"""Downloaded images that are kept until their views are embedded, in files that outlast a killed trainer."""

import asyncio
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from catalog.jobs import Job
from servicekit.errors import ServiceError
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# As much as 2,000 photographs of half a megabyte take.
MOST_BYTES = 1 << 30
# Left free on the disk, for everything else that needs it.
FREE_BYTES = 1 << 30
# Folders of jobs that went on elsewhere are removed when nothing has changed in them for this long.
IDLE_SECONDS = 6 * 3600.0


class KeptImages:
    """The folder of one job: encoded images by URL, up to a number of bytes in all."""

    def __init__(self, folder: Path | None, most_bytes: int) -> None:
        """folder: None if nothing can be kept."""
        self._folder = folder
        self._left = most_bytes - (_size(folder) if folder is not None else 0)

    async def keep(self, url: str, image: bytes) -> bool:
        """Return whether there was room for an image, which is kept then."""
        if self._folder is None or len(image) > self._left:
            return False
        self._left -= len(image)
        return await asyncio.to_thread(_write, self._path(self._folder, url), image)

    async def read(self, url: str) -> bytes | None:
        """Return an image, or None if it is not kept."""
        return None if self._folder is None else await asyncio.to_thread(_read, self._path(self._folder, url))

    def forget(self, url: str) -> None:
        """Keep an image no longer."""
        if self._folder is not None:
            with suppress(OSError):
                self._path(self._folder, url).unlink(missing_ok=True)

    @staticmethod
    def _path(folder: Path, url: str) -> Path:
        return folder / hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


@asynccontextmanager
async def kept_images(job: Job, directory: Path | None, most_bytes: int | None) -> AsyncIterator[KeptImages]:
    """Keep images of a job while entered. They stay for its next attempt unless this one succeeds or fails.

    directory: by default one of this user in the temporary folder. most_bytes: None for MOST_BYTES.
    """
    folder = await asyncio.to_thread(_open_folder, directory or _default_directory(), job)
    try:
        yield KeptImages(folder, MOST_BYTES if most_bytes is None else min(most_bytes, MOST_BYTES))
    except ServiceError:
        await _remove(folder)
        raise
    await _remove(folder)


async def _remove(folder: Path | None) -> None:
    if folder is not None:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _default_directory() -> Path:
    return Path(tempfile.gettempdir()) / f"similis-images-{os.getuid()}"


def _open_folder(directory: Path, job: Job) -> Path | None:
    """Return the folder of a job, without those that nobody needs any more. None if there can be none."""
    # Another installation may share the directory.
    folder = directory / f"{job.id}-{job.created_at.timestamp():.6f}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            log.warning("images_not_kept", reason="The folder belongs to another user.", folder=str(directory))
            return None
        for other in directory.iterdir():
            if other != folder and other.stat().st_mtime < time.time() - IDLE_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        log.warning("images_not_kept", reason=error.strerror, folder=str(directory))
        return None
    return folder


def _size(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def _write(path: Path, image: bytes) -> bool:
    """Write an image, whole or not at all. A lost file costs a download, so it is not flushed to the disk."""
    fresh = path.with_suffix(".part")
    try:
        if shutil.disk_usage(path.parent).free < FREE_BYTES + len(image):
            return False
        fresh.write_bytes(image)
        fresh.rename(path)
    except OSError as error:
        log.warning("image_not_kept", reason=error.strerror)
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        return False
    return True


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
