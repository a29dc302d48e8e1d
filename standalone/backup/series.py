"""A folder with the newest backups: each has the name of the moment when it began."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

from servicekit.process.service import StartupError
from standalone.backup.archive import read_manifest
from standalone.backup.create import PARTIAL, create_backup
from standalone.backup.stores import Stores

NAME = "%Y-%m-%dT%H-%M-%SZ"
NAMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ")
# A backup writes all the time. One that has not for this long was killed.
ABANDONED_SECONDS = 86400.0


async def add_backup(opening: AbstractAsyncContextManager[Stores], parent: Path, keep: int) -> None:
    """Write a backup to a new folder in `parent`, then remove all but the `keep` newest. Raises StartupError.

    Only complete backups with such a name count and are removed; none is if the new one fails. What a killed backup has
    left is removed after a day.
    """
    for folder in _abandoned(parent):
        _remove(folder)
    await create_backup(opening, parent / datetime.now(UTC).strftime(NAME))
    for folder in backups(parent)[:-keep]:
        # First the name, so that a backup of which only a part was removed is never taken for a complete one.
        partial = folder.with_name(f"{folder.name}{PARTIAL}")
        try:
            folder.rename(partial)
        except OSError as error:
            raise StartupError(f"cannot remove the old backup {folder}: {error.strerror}") from error
        _remove(partial)


def backups(parent: Path) -> list[Path]:
    """Return the complete backups in a folder, oldest first."""
    return sorted(folder for folder in _folders(parent) if NAMES.fullmatch(folder.name) and _is_complete(folder))


def _abandoned(parent: Path) -> Iterator[Path]:
    """Yield the folders that killed backups have left."""
    for folder in _folders(parent):
        if folder.name.endswith(PARTIAL) and NAMES.fullmatch(folder.name.removesuffix(PARTIAL)):
            newest = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
            if time.time() - newest > ABANDONED_SECONDS:
                yield folder


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()] if parent.exists() else []


def _is_complete(folder: Path) -> bool:
    try:
        read_manifest(folder)
    except StartupError:
        return False
    return True


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise StartupError(f"cannot remove {folder}: {error.strerror}") from error
