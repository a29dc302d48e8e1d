"""Which service the commands call, and with which key: options, environment and the file of `similis login`."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from similis_cli.problems import Status, fail

DEFAULT_URL = "http://127.0.0.1:8080"
KEY_VARIABLE = "SIMILIS_API_KEY"
# What the group and others may do with the file: nothing.
OTHERS = 0o077


@dataclass(frozen=True)
class Target:
    """A service and the key for it."""

    url: str
    key: str | None


@dataclass(frozen=True)
class Logins:
    """What `similis login` stored. url: the service that was logged in to last. keys: by URL."""

    url: str | None = None
    keys: dict[str, str] = field(default_factory=dict)


def target(url: str | None, key_file: Path | None) -> Target:
    """Return the service to call. A stored key is used only for the URL that it was stored for."""
    logins = read_logins()
    address = normalised(url or logins.url or DEFAULT_URL)
    if key_file is not None:
        return Target(address, read_key(key_file))
    return Target(address, os.environ.get(KEY_VARIABLE) or logins.keys.get(address))


def normalised(url: str) -> str:
    """Return a URL without `/api` and slashes at its end, so that the same service has the same URL."""
    if not url.startswith(("http://", "https://")):
        fail(f"The address of the service must begin with http:// or https://, unlike {url!r}.", Status.USAGE)
    return url.rstrip("/").removesuffix("/api").rstrip("/")


def read_key(file: Path) -> str:
    """Return the key in a file. `similis up` writes one: `admin-key` in its data directory."""
    key = file.read_text(encoding="utf-8").strip()
    if not key or not key.isprintable() or any(character.isspace() for character in key):
        fail(f"{file} does not hold an API key: one line of characters without spaces is expected.", Status.SETTING)
    return key


def login_file() -> Path:
    """Return the path of the file that `similis login` writes."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "similis" / "login.json"


def read_logins() -> Logins:
    """Return what `similis login` stored. A file that others may read is refused."""
    file = login_file()
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Logins()
    if mode & OTHERS:
        fail(f"Other users may read or change {file}, which holds keys. Run: chmod 600 {file}", Status.SETTING)
    try:
        stored = json.loads(text)
        return Logins(stored["url"], {str(url): str(key) for url, key in stored["keys"].items()})
    except (ValueError, LookupError, TypeError, AttributeError):
        fail(f"{file} is damaged. Delete it and run 'similis login' again.", Status.SETTING)


def write_logins(logins: Logins) -> None:
    """Store logins in a file that only its owner can read."""
    file = login_file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as writer:
            json.dump({"url": logins.url, "keys": logins.keys}, writer, indent=1)
            writer.flush()
            os.fsync(writer.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
