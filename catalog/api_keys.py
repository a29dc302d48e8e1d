"""API keys: those that we make, `id.secret`, and those that an operator has made and gives us.

Ours are looked up by id, and the secret is compared as a digest in constant time. Given ones are looked up by their
digest. Both have so many random bits that a plain SHA-256 is as good as a slow hash, and takes microseconds.
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
MIN_GIVEN_LENGTH = 32
# Bits, as the frequency of its characters shows them: 32 random hexadecimal digits have about 117, of a million such
# keys none has less than 79. The sixteen digits in order, twice, have 72.
MIN_GIVEN_ENTROPY = 75.0

# The time of use is for a person who tidies up: once a minute is often enough.
TOUCH = """
UPDATE api_keys SET last_used_at = now()
WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""


class WeakKey(InvalidRequest):
    """A key that somebody gives us could be guessed, or is of a form that it may not have."""

    default_code = "weak_key"


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

    async def is_valid(self, key: str | None) -> bool:
        """Whether the key is one of ours and not revoked."""
        parsed = _parse(key or "")
        if parsed is None:
            return key is not None and await self._given(key)
        identifier, secret = parsed
        async with self._database.connection() as connection:
            digest: bytes | None = await connection.fetchval(
                "SELECT digest FROM api_keys WHERE id = $1 AND revoked_at IS NULL", identifier
            )
            if not hmac.compare_digest(digest or b"", _digest(secret)):
                return False
            await connection.execute(TOUCH, identifier)
        return True

    async def ensure(self, name: str, key: str) -> bool:
        """Makes a key that was given the only valid one of this name; says whether it was not so before.

        Raises WeakKey for one that could be guessed, or that is of the form that ours have.
        """
        _check_strength(key)
        async with self._database.transaction() as connection:
            # Whoever does the same at this moment waits.
            await connection.execute("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE")
            digest = _digest(key)
            rows = await connection.fetch(
                "SELECT id, digest FROM api_keys WHERE name = $1 AND revoked_at IS NULL", name
            )
            others = [row["id"] for row in rows if row["digest"] != digest]
            await connection.execute("UPDATE api_keys SET revoked_at = now() WHERE id = ANY($1)", others)
            known = len(others) < len(rows)
            if not known:
                await connection.execute("INSERT INTO api_keys (name, digest) VALUES ($1, $2)", name, digest)
        return bool(others) or not known

    async def _given(self, key: str) -> bool:
        if not MIN_GIVEN_LENGTH <= len(key) <= MAX_KEY_LENGTH:
            return False
        async with self._database.connection() as connection:
            identifier = await connection.fetchval(
                "SELECT id FROM api_keys WHERE digest = $1 AND revoked_at IS NULL LIMIT 1", _digest(key)
            )
            if identifier is not None:
                await connection.execute(TOUCH, identifier)
        return identifier is not None

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


def _check_strength(key: str) -> None:
    if not MIN_GIVEN_LENGTH <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise WeakKey(f"A key has {MIN_GIVEN_LENGTH} to {MAX_KEY_LENGTH} printable ASCII characters and no spaces.")
    if _parse(key) is not None:
        raise WeakKey("A key that begins with a number and a dot is one that Similis makes itself.")
    if _apparent_entropy(key) < MIN_GIVEN_ENTROPY:
        raise WeakKey("The key is not random enough: take 32 random bytes, in hexadecimal or base64.")


def _apparent_entropy(key: str) -> float:
    """Bits that a key has by how often each of its characters occurs; what repeats itself counts once."""
    shares = [count / len(key) for count in Counter(key).values()]
    distinct = len({key[start : start + 3] for start in range(len(key) - 2)}) + 2
    return -distinct * sum(share * math.log2(share) for share in shares)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
