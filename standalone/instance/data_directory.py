"""The directory in which one instance keeps everything: its layout, its locks, and what may be wrong with it."""

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
# `in_use` holds the lock for an instant, to see whether it can.
LOOK_SECONDS = 0.5
# Processes of a run whose supervisor was killed are gone within a second or two; a flush may take longer.
LEFTOVER_SECONDS = 20.0


@dataclass(frozen=True)
class DataDirectory:
    """Where what is. `children_lock` is inherited by every child: while it is held, one of them still runs."""

    root: Path
    children_lock: int = -1

    @property
    def postgres(self) -> Path:
        """Holds the database cluster `data`; closed to other users, the one that Postgres runs as included."""
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
        """Models that the embedder converted or downloaded; can be deleted while nothing runs."""
        return self.root / "models"

    @property
    def spool(self) -> Path:
        """Uploads under way."""
        return self.root / "spool"

    @property
    def logs(self) -> Path:
        """One log for each child."""
        return self.root / "logs"

    @property
    def admin_key(self) -> Path:
        """The first API key, readable by the owner only."""
        return self.root / "admin-key"


@asynccontextmanager
async def opened(root: Path, *, min_free_bytes: int) -> AsyncIterator[DataDirectory]:
    """The directory at the absolute path `root`, made if it is not there, for this process alone while entered.

    Raises StartupError when it is in use, is not ours, was written by a newer version or has too little space.
    """
    try:
        new = _make(root)
        with closing(_File(root / "lock")) as lock, closing(_File(root / "children.lock")) as children:
            await _take(root, lock, children)
            if new:
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


def existing(root: Path) -> DataDirectory:
    """The directory at the absolute path `root` as it stands, without a lock. Raises StartupError if none of ours."""
    try:
        _check_mark(root)
    except OSError as error:
        raise StartupError(f"cannot use the data directory {root}: {error.strerror}") from error
    return DataDirectory(root)


def in_use(data: DataDirectory) -> bool:
    """Whether a supervisor runs on the directory now."""
    with closing(_File(data.root / "lock")) as lock:
        return not lock.try_lock()


class _File:
    """An open file that can be locked; the lock goes with the last process that has it open."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_lock(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self.descriptor)


def _make(root: Path) -> bool:
    """Makes the directory; says whether it is new. Raises StartupError for one that holds other things."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (root / MARK).exists():
        return False
    if foreign := sorted(entry.name for entry in root.iterdir() if entry.name not in {"lock", "children.lock"}):
        raise StartupError(f"{root} is not a data directory of Similis, and not empty (it holds {foreign[0]!r})")
    return True


async def _take(root: Path, lock: _File, children: _File) -> None:
    if not await _locked(lock, LOOK_SECONDS):
        raise StartupError(f"the data directory {root} is in use by another 'similis'")
    if not await _locked(children, LEFTOVER_SECONDS):
        raise StartupError(f"processes of an earlier run still use the data directory {root}")


async def _locked(file: _File, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not file.try_lock():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def _write_mark(root: Path) -> None:
    temporary = root / "similis.json.new"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"layout": LAYOUT}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(root / MARK)


def _check_mark(root: Path) -> None:
    try:
        layout = int(json.loads((root / MARK).read_text(encoding="utf-8"))["layout"])
    except FileNotFoundError:
        raise StartupError(f"{root} is not a data directory of Similis") from None
    except (ValueError, KeyError, TypeError):
        raise StartupError(f"the data directory {root} is corrupt: {MARK} cannot be read") from None
    if layout > LAYOUT:
        raise StartupError(f"the data directory {root} was written by a newer version of Similis")


def _check_space(root: Path, min_free_bytes: int) -> None:
    free = shutil.disk_usage(root).free
    if free < min_free_bytes:
        raise StartupError(
            f"too little disk space for {root}: {free >> 20} MiB free, {min_free_bytes >> 20} MiB needed"
        )
