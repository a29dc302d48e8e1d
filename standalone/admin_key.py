"""The first API key of an instance, handed over in a file that only its owner can read."""

import os
from pathlib import Path

from catalog.keys.api_keys import ApiKeys
from servicekit.telemetry.audit import audit

NAME = "admin"


async def ensure_admin_key(keys: ApiKeys, path: Path) -> bool:
    """Create a key and write it to `path` if the instance has none. Return whether a key was created.

    If an earlier process died after it created the key and before it wrote the file, that key is revoked and replaced.
    A marker file beside `path` exists for as long as this may be the case.
    """
    pending = path.with_name(f"{path.name}.pending")
    existing = await keys.list()
    if existing and not pending.exists():
        return False
    pending.touch(mode=0o600)
    for key in existing:
        if key.name == NAME:
            await keys.revoke(key.id)
            audit("delete_key", "done", key_id=key.id, key_name=NAME)
    secret = await keys.create(NAME)
    audit("create_key", "done", key_id=int(secret.partition(".")[0]), key_name=NAME)
    _write_private(path, f"{secret}\n")
    pending.unlink()
    return True


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
