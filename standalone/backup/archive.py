"""The files of a backup, and the manifest that tells whether they are complete and unchanged."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from servicekit.process.service import StartupError

FORMAT = 2
MANIFEST = "manifest.json"
DATABASE = "database"
ADMIN_KEY = "admin-key"
VECTORS = "vectors"


@dataclass(frozen=True)
class Manifest:
    """What a backup consists of.

    version: of Similis. schema: version of the database's schema. created_at: ISO 8601. prefix: of the names in Qdrant.
    collections, images: their numbers. vectors: the number of points by Qdrant collection. digests: SHA-256, in hex, by
    path in the backup.
    """

    version: str
    schema: int
    created_at: str
    prefix: str
    collections: int
    images: int
    vectors: Mapping[str, int]
    digests: Mapping[str, str]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, last of all files."""
    fields = {"format": FORMAT, **asdict(manifest)}
    write_durably(folder / MANIFEST, json.dumps({**fields, "digest": _digest_of(fields)}, indent=2).encode())


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a backup. Raises StartupError if there is none, or one of another format."""
    try:
        fields = json.loads((folder / MANIFEST).read_bytes())
        if fields["format"] != FORMAT:
            kind = "a newer" if fields["format"] > FORMAT else "an older"
            raise StartupError(f"the backup {folder} was made by {kind} version of Similis, with another format")
        if fields.pop("digest") != _digest_of(fields):
            raise StartupError(f"the backup {folder} is damaged: {MANIFEST} has changed since it was written")
        del fields["format"]
        return Manifest(**fields)
    except FileNotFoundError:
        raise StartupError(f"{folder} is not a backup of Similis: it has no {MANIFEST}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StartupError(f"the backup {folder} is damaged: {MANIFEST} cannot be read") from None
    except OSError as error:
        raise StartupError(f"cannot read the backup {folder}: {error.strerror}") from error


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a backup but its manifest, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): _digest(path) for path in files}


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise StartupError if a file of a backup is missing or has changed."""
    for name, expected in manifest.digests.items():
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise StartupError(f"the backup {folder} is incomplete: {name}: {error.strerror}") from error
        if found != expected:
            raise StartupError(f"the backup {folder} is damaged: {name} has changed since it was written")


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
