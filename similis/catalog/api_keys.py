"""API keys: `id.secret`, looked up by id, the secret compared as a digest in constant time.

The secret has 256 random bits, so a plain SHA-256 is as good as a slow hash, and takes microseconds.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from similis.catalog.database import Database

SECRET_BYTES = 32
MAX_KEY_LENGTH = 200

# The time of use is for a person who tidies up: once a minute is often enough.
TOUCH = """
UPDATE api_keys SET last_used_at = now()
WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""


@dataclass(frozen=True)
class ApiKey:
    """A key as it is kept: never its secret."""

    id: int
    name: str
    created_at: datetime
    last_used_at: datetime | None


class ApiKeys:
    """The keys of the database. Every method raises what `Database.connection` raises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str) -> str:
        """Makes a key and gives it whole, this once."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        async with self._database.connection() as connection:
            identifier = await connection.fetchval(
                "INSERT INTO api_keys (name, digest) VALUES ($1, $2) RETURNING id", name, _digest(secret)
            )
        return f"{identifier}.{secret}"

    async def valid(self, key: str | None) -> bool:
        """Whether the key is one of ours and not revoked."""
        parsed = _parse(key or "")
        if parsed is None:
            return False
        identifier, secret = parsed
        async with self._database.connection() as connection:
            digest: bytes | None = await connection.fetchval(
                "SELECT digest FROM api_keys WHERE id = $1 AND revoked_at IS NULL", identifier
            )
            if not hmac.compare_digest(digest or b"", _digest(secret)):
                return False
            await connection.execute(TOUCH, identifier)
        return True

    async def list(self) -> list[ApiKey]:
        """The keys that are not revoked, by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT * FROM api_keys WHERE revoked_at IS NULL ORDER BY id")
        return [ApiKey(row["id"], row["name"], row["created_at"], row["last_used_at"]) for row in rows]

    async def revoke(self, key_id: int) -> bool:
        """Makes a key invalid at once; False if there is none."""
        async with self._database.connection() as connection:
            status = await connection.execute(
                "UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL", key_id
            )
        return bool(status == "UPDATE 1")


def _parse(key: str) -> tuple[int, str] | None:
    if len(key) > MAX_KEY_LENGTH:
        return None
    identifier, dot, secret = key.partition(".")
    if not dot or not secret or not identifier.isascii() or not identifier.isdigit() or len(identifier) > 18:
        return None
    return int(identifier), secret


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
