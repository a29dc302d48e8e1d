"""The first API key of an instance, handed over in a file that only its owner can read."""

import os
from pathlib import Path

from catalog.api_keys import ApiKeys

NAME = "admin"


async def ensure_admin_key(keys: ApiKeys, path: Path) -> bool:
    """Makes a key and writes it to `path` if the instance has none; says whether it did.

    A key that was made but not written, because the process died between the two, is revoked and made again: a mark
    beside `path` stands for as long as that may be so.
    """
    mark = path.with_name(f"{path.name}.pending")
    known = await keys.list()
    if known and not mark.exists():
        return False
    mark.touch(mode=0o600)
    for key in known:
        if key.name == NAME:
            await keys.revoke(key.id)
    _write_private(path, f"{await keys.create(NAME)}\n")
    mark.unlink()
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
