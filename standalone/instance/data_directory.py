"""The directory that holds all data of one instance: its layout, its locks, and the checks before it is used."""

import asyncio
import fcntl
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from servicekit.process.service import StartupError

LAYOUT = 1
MARK = "similis.json"
LOCK = "lock"
CHILDREN_LOCK = "children.lock"
# `is_in_use` holds the lock for an instant to test it.
LOCK_SECONDS = 0.5
# After a supervisor is killed its children end within a second or two, longer if one has to flush.
LEFTOVER_SECONDS = 20.0


@dataclass(frozen=True)
class DataDirectory:
    """The paths in a data directory. Children inherit `children_lock`, which stays locked while one of them runs."""

    root: Path
    children_lock: int = -1

    @property
    def postgres(self) -> Path:
        """The parent of the database cluster. No other user can enter it, not even the one that Postgres runs as."""
        return self.root / "postgres"

    @property
    def cluster(self) -> Path:
        """Postgres' own data directory."""
        return self.postgres / "data"

    @property
    def qdrant(self) -> Path:
        """The vectors."""
        return self.root / "qdrant"

    @property
    def models(self) -> Path:
        """Models that the embedder has converted or downloaded. They can be deleted while nothing runs."""
        return self.root / "models"

    @property
    def spool(self) -> Path:
        """Uploads in progress."""
        return self.root / "spool"

    @property
    def kept_images(self) -> Path:
        """Images that a finetune has downloaded and still needs. The trainer creates it."""
        return self.root / "images"

    @property
    def logs(self) -> Path:
        """One log for each child."""
        return self.root / "logs"

    @property
    def admin_key(self) -> Path:
        """The first API key. Only the owner can read it."""
        return self.root / "admin-key"


@asynccontextmanager
async def open_data_directory(root: Path, *, min_free_bytes: int) -> AsyncIterator[DataDirectory]:
    """Lock the directory at the absolute path `root` for this process while entered. Create it if it does not exist.

    Raises StartupError when it is in use, belongs to something else, was written by a newer version, or when less than
    `min_free_bytes` are free.
    """
    try:
        is_new = _create(root)
        with closing(_LockFile(root / LOCK)) as lock, closing(_LockFile(root / CHILDREN_LOCK)) as children:
            await _acquire(root, lock, children)
            if is_new:
                _write_mark(root)
            _check_mark(root)
            _check_space(root, min_free_bytes)
            data = DataDirectory(root, children.descriptor)
            for directory in (data.postgres, data.qdrant, data.models, data.spool, data.logs):
                directory.mkdir(mode=0o700, exist_ok=True)
            yield data
    except OSError as error:
        if error.filename is None:
            raise
        raise StartupError(f"cannot use the data directory {root}: {error.filename}: {error.strerror}") from error


def find_data_directory(root: Path) -> DataDirectory:
    """Return the existing data directory at the absolute path `root`, without a lock. Raises StartupError."""
    try:
        _check_mark(root)
    except OSError as error:
        raise StartupError(f"cannot use the data directory {root}: {error.strerror}") from error
    return DataDirectory(root)


def is_in_use(data: DataDirectory) -> bool:
    """Return whether a supervisor uses the directory now."""
    with closing(_LockFile(data.root / LOCK)) as lock:
        return not lock.try_lock()


class _LockFile:
    """An open file that can be locked. The lock lasts until the last process that has it open ends."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_lock(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def lock_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self.try_lock():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    def close(self) -> None:
        os.close(self.descriptor)


def _create(root: Path) -> bool:
    """Create the directory and return whether it is new. Raises StartupError if it holds other files."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (root / MARK).exists():
        return False
    if foreign := sorted(entry.name for entry in root.iterdir() if entry.name not in {LOCK, CHILDREN_LOCK}):
        raise StartupError(
            f"{root} is neither empty nor a data directory of Similis: it contains {foreign[0]!r}. "
            "Choose another directory with --data"
        )
    return True


async def _acquire(root: Path, lock: _LockFile, children: _LockFile) -> None:
    if not await lock.lock_within(LOCK_SECONDS):
        raise StartupError(f"the data directory {root} is in use by another 'similis' process")
    if not await children.lock_within(LEFTOVER_SECONDS):
        raise StartupError(f"processes of an earlier run still use the data directory {root}. Stop them first")


def _write_mark(root: Path) -> None:
    temporary = root / f"{MARK}.new"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"layout": LAYOUT}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(root / MARK)


def _check_mark(root: Path) -> None:
    try:
        layout = int(json.loads((root / MARK).read_text(encoding="utf-8"))["layout"])
    except FileNotFoundError:
        raise StartupError(f"{root} is not a data directory of Similis. Give its path with --data") from None
    except (ValueError, KeyError, TypeError):
        raise StartupError(f"the data directory {root} is corrupt: cannot read {MARK}") from None
    if layout > LAYOUT:
        raise StartupError(f"the data directory {root} was written by a newer version of Similis")


def _check_space(root: Path, min_free_bytes: int) -> None:
    free = shutil.disk_usage(root).free
    if free < min_free_bytes:
        raise StartupError(
            f"not enough disk space for {root}: {free >> 20} MiB are free, {min_free_bytes >> 20} MiB are needed "
            "(SIMILIS_MIN_FREE_DISK_BYTES)"
        )
