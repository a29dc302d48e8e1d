"""The directory of a running instance's sockets: in its data directory, or in /tmp when that path is too long."""

import hashlib
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servicekit.process.service import StartupError
from standalone.instance.data_directory import DataDirectory

# The kernel allows 107 bytes; gRPC and libpq add a few of their own.
MAX_SOCKET_PATH = 100
LONGEST_SOCKET = "postgres/.s.PGSQL.5432"
# gRPC reads an address as a URI, where other characters have a meaning.
PLAIN = re.compile(r"[A-Za-z0-9._/-]+")


def run_directory_of(data: DataDirectory) -> Path:
    """Return the directory for the sockets of the instance in `data`. It is the same in every process."""
    inside = data.root / "run"
    if len(str(inside / LONGEST_SOCKET)) <= MAX_SOCKET_PATH and PLAIN.fullmatch(str(inside)):
        return inside
    digest = hashlib.sha256(str(data.root.resolve()).encode()).hexdigest()[:16]
    # Not in TMPDIR, which may be long itself. Others cannot enter it, and `check_private` refuses a foreign one.
    return Path(f"/tmp/similis-{data.root.stat().st_uid}-{digest}")  # noqa: S108


@contextmanager
def run_directory(data: DataDirectory) -> Iterator[Path]:
    """Create an empty directory for sockets, with a link `postgres` to the database cluster. Remove it at the end.

    The caller holds the data directory's locks, so any leftovers of an earlier run are unused.
    """
    path = run_directory_of(data)
    path.mkdir(mode=0o700, exist_ok=True)
    check_private(path, data)
    _empty(path)
    (path / "postgres").symlink_to(data.cluster)
    try:
        yield path
    finally:
        _empty(path)
        path.rmdir()


def check_private(path: Path, data: DataDirectory) -> None:
    """Raise StartupError if another user made the directory or could enter it."""
    found = path.lstat()
    owners = {0, data.root.stat().st_uid}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners or stat.S_IMODE(found.st_mode) != 0o700:
        raise StartupError(f"{path} exists and is not a private directory of this user. Remove it")


def _empty(path: Path) -> None:
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
