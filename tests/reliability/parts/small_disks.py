"""Small file systems for parts of an instance, which a test can fill: tmpfs in a mount namespace of the instance."""

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

MIB = 1024 * 1024
# Written as one file, and the rest of the space by smaller ones.
FILLERS = (MIB, 4096)


@cache
def namespaces_work() -> bool:
    """Return whether this machine lets us mount in a namespace of our own."""
    try:
        done = subprocess.run([*prefix({Path("/mnt"): MIB}), "true"], capture_output=True, timeout=20, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def prefix(sizes: Mapping[Path, int]) -> tuple[str, ...]:
    """Return the beginning of a command that runs another one with a small file system at each of these paths.

    sizes: in bytes. Without root's rights the mounts are made as root of a user namespace, and the command then has the
    user's own id again.
    """
    mounts = [f"mount -t tmpfs -o size={size},mode=0700 tmpfs {shlex.quote(str(path))}" for path, size in sizes.items()]
    user, group = os.getuid(), os.getgid()
    back = [] if user == 0 else ["unshare", "--user", f"--map-user={user}", f"--map-group={group}", "--"]
    script = " && ".join([*mounts, f'exec {" ".join(back)} "$@"'])
    return ("unshare", "--mount", *([] if user == 0 else ["--map-root-user"]), "sh", "-c", script, "sh")


class SmallDisk:
    """A small file system of a process. pid: of the process; path: where it sees the file system."""

    def __init__(self, pid: int, path: Path) -> None:
        self.seen = Path(f"/proc/{pid}/root{path}")
        self._filler = self.seen / "filler"

    def free(self) -> int:
        """Return how many bytes are free."""
        found = os.statvfs(self.seen)
        return found.f_bavail * found.f_frsize

    @contextmanager
    def full(self, leave: int = 0) -> Iterator[None]:
        """Fill it while entered. leave: this many bytes, or a little less, stay free."""
        try:
            self.fill(leave)
            yield
        finally:
            self._filler.unlink()

    def fill(self, leave: int = 0) -> None:
        """Take all free space but `leave` bytes, also what became free since the last call."""
        with self._filler.open("ab") as file:
            for piece in FILLERS:
                while (missing := self.free() - leave) >= piece:
                    size = file.seek(0, os.SEEK_END)
                    try:
                        os.posix_fallocate(file.fileno(), size, missing // piece * piece)
                    except OSError:
                        # Somebody else took some of it at the same time.
                        continue
