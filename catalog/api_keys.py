"""API keys: generated ones, written `id.secret`, and ones that an operator supplies.

Generated keys are looked up by id, and the digest of the secret is compared in constant time. Supplied keys are looked
up by their digest. Both have enough random bits for a plain SHA-256, which takes microseconds, to be as safe as a slow
hash.
"""

import hashlib
import hmac
import math
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from catalog.postgres.database import Database
from servicekit.errors import InvalidRequest

SECRET_BYTES = 32
MAX_KEY_LENGTH = 200
MIN_SUPPLIED_LENGTH = 32
# Bits, estimated from how often each character occurs. 32 random hexadecimal digits have about 117, and none of a
# million such keys had less than 79. The sixteen digits in order, twice, have 72.
MIN_SUPPLIED_ENTROPY = 75.0

# People use this time to find unused keys, so once a minute is often enough.
TOUCH = """
UPDATE api_keys SET last_used_at = now()
WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""


class WeakKey(InvalidRequest):
    """A supplied key could be guessed, or does not have the required form."""

    default_code = "weak_key"


@dataclass(frozen=True)
class ApiKey:
    """A stored key, without its secret."""

    id: int
    name: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True)
class KeyName:
    """The id and name of a key: what logs may say about it."""

    id: int
    name: str


class ApiKeys:
    """The keys in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str) -> str:
        """Create a key and return it. Its secret cannot be read again."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        async with self._database.connection() as connection:
            identifier = await connection.fetchval(
                "INSERT INTO api_keys (name, digest) VALUES ($1, $2) RETURNING id", name, _digest(secret)
            )
        return f"{identifier}.{secret}"

    async def is_valid(self, key: str | None) -> bool:
        """Return whether a key is known and not revoked."""
        return await self.find(key) is not None

    async def find(self, key: str | None) -> KeyName | None:
        """Return the id and name of a key; None if it is unknown or revoked."""
        parsed = _parse(key or "")
        if parsed is None:
            return None if key is None else await self._find_supplied(key)
        identifier, secret = parsed
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT name, digest FROM api_keys WHERE id = $1 AND revoked_at IS NULL", identifier
            )
            if not hmac.compare_digest(b"" if row is None else row["digest"], _digest(secret)) or row is None:
                return None
            await connection.execute(TOUCH, identifier)
        return KeyName(identifier, row["name"])

    async def ensure(self, name: str, key: str) -> int | None:
        """Make a supplied key the only valid one with this name, and return its id; None if that changed nothing.

        Raises WeakKey for a key that could be guessed or that looks like a generated one.
        """
        _check_strength(key)
        async with self._database.transaction() as connection:
            # Concurrent calls run one after the other.
            await connection.execute("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE")
            digest = _digest(key)
            rows = await connection.fetch(
                "SELECT id, digest FROM api_keys WHERE name = $1 AND revoked_at IS NULL", name
            )
            others = [row["id"] for row in rows if row["digest"] != digest]
            await connection.execute("UPDATE api_keys SET revoked_at = now() WHERE id = ANY($1)", others)
            known: int | None = next((row["id"] for row in rows if row["digest"] == digest), None)
            if known is not None:
                return known if others else None
            created: int = await connection.fetchval(
                "INSERT INTO api_keys (name, digest) VALUES ($1, $2) RETURNING id", name, digest
            )
        return created

    async def _find_supplied(self, key: str) -> KeyName | None:
        if not MIN_SUPPLIED_LENGTH <= len(key) <= MAX_KEY_LENGTH:
            return None
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT id, name FROM api_keys WHERE digest = $1 AND revoked_at IS NULL LIMIT 1", _digest(key)
            )
            if row is None:
                return None
            await connection.execute(TOUCH, row["id"])
        return KeyName(row["id"], row["name"])

    async def list(self) -> list[ApiKey]:
        """List the keys that are not revoked, by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT * FROM api_keys WHERE revoked_at IS NULL ORDER BY id")
        return [ApiKey(row["id"], row["name"], row["created_at"], row["last_used_at"]) for row in rows]

    async def revoke(self, key_id: int) -> str | None:
        """Revoke a key with immediate effect, and return its name; None if no valid key has this id."""
        async with self._database.connection() as connection:
            name: str | None = await connection.fetchval(
                "UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING name", key_id
            )
        return name


def _parse(key: str) -> tuple[int, str] | None:
    if len(key) > MAX_KEY_LENGTH:
        return None
    identifier, dot, secret = key.partition(".")
    if not dot or not secret or not identifier.isascii() or not identifier.isdigit() or len(identifier) > 18:
        return None
    return int(identifier), secret


def _check_strength(key: str) -> None:
    if (
        not MIN_SUPPLIED_LENGTH <= len(key) <= MAX_KEY_LENGTH
        or not key.isascii()
        or not key.isprintable()
        or " " in key
    ):
        raise WeakKey(
            f"The key must have {MIN_SUPPLIED_LENGTH} to {MAX_KEY_LENGTH} printable ASCII characters and no spaces."
        )
    if _parse(key) is not None:
        raise WeakKey("The key must not begin with a number and a dot, because the keys that Similis generates do.")
    if _apparent_entropy(key) < MIN_SUPPLIED_ENTROPY:
        raise WeakKey("The key is not random enough. Use 32 random bytes in hexadecimal or base64.")


def _apparent_entropy(key: str) -> float:
    """Estimate a key's entropy in bits from its character frequencies. Repeated parts count once."""
    shares = [count / len(key) for count in Counter(key).values()]
    distinct = len({key[start : start + 3] for start in range(len(key) - 2)}) + 2
    return -distinct * sum(share * math.log2(share) for share in shares)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
