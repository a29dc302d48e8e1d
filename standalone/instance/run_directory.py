"""Where the sockets of a running instance are: in its data directory, or in /tmp when that path is too long."""

import hashlib
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servicekit.process.service import StartupError
from standalone.instance.data_directory import DataDirectory

# The kernel takes 107 bytes; gRPC and libpq put something before or behind.
MAX_SOCKET_PATH = 100
LONGEST_SOCKET = "postgres/.s.PGSQL.5432"
# gRPC reads an address as a URI, in which other characters have a meaning.
PLAIN = re.compile(r"[A-Za-z0-9._/-]+")


def location(data: DataDirectory) -> Path:
    """The directory for the sockets of the instance in `data`; the same in every process that asks."""
    inside = data.root / "run"
    if len(str(inside / LONGEST_SOCKET)) <= MAX_SOCKET_PATH and PLAIN.fullmatch(str(inside)):
        return inside
    digest = hashlib.sha256(str(data.root.resolve()).encode()).hexdigest()[:16]
    # Short by standard, whatever TMPDIR says; closed to others, and refused when it is not ours.
    return Path(f"/tmp/similis-{data.root.stat().st_uid}-{digest}")  # noqa: S108


@contextmanager
def run_directory(data: DataDirectory) -> Iterator[Path]:
    """An empty directory for sockets, with `postgres` leading to the cluster's; gone at the end.

    The caller holds the data directory's locks, so what a killed run left is nobody's.
    """
    path = location(data)
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
    """Raises StartupError when somebody else made the directory, or could reach into it."""
    found = path.lstat()
    owners = {0, data.root.stat().st_uid}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners or stat.S_IMODE(found.st_mode) != 0o700:
        raise StartupError(f"{path} exists and is not a private directory of this user; remove it")


def _empty(path: Path) -> None:
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
