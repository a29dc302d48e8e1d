"""API keys: generated ones, written `id.secret`, and ones that an operator supplies.

Generated keys are looked up by id, and the digest of the secret is compared in constant time. Supplied keys are looked
up by their digest. Both have enough random bits for a plain SHA-256, which takes microseconds, to be as safe as a slow
hash. Each key is valid in exactly one form: a generated one only behind its id, a supplied one only as it is.
"""

import hashlib
import hmac
import math
import re
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from catalog.keys.permissions import EVERYTHING, Permissions, Scope
from catalog.postgres.database import Database
from servicekit.errors import InvalidRequest

SECRET_BYTES = 32
# Ids have no leading zeros.
GENERATED_KEY = re.compile(r"([1-9][0-9]{0,17})\.(.+)", re.ASCII | re.DOTALL)
BEGINS_LIKE_GENERATED = re.compile(r"[0-9]+\.", re.ASCII)
# The form of generated secrets: 32 bytes in URL-safe base64.
GENERATED_SECRET = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
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

COLUMNS = "id, name, scope, collections, expires_at, coalesce(expires_at <= now(), false) AS expired"

# The form of the secret says whether a key from before the column `supplied` was generated: $2.
BY_ID = f"""
SELECT {COLUMNS}, digest FROM api_keys WHERE id = $1 AND revoked_at IS NULL AND NOT coalesce(supplied, NOT $2)
"""  # noqa: S608 (a constant)

BY_DIGEST = f"""
SELECT {COLUMNS} FROM api_keys WHERE digest = $1 AND revoked_at IS NULL AND coalesce(supplied, NOT $2) LIMIT 1
"""  # noqa: S608 (a constant)

LIST = f"""
SELECT {COLUMNS}, created_at, last_used_at FROM api_keys WHERE revoked_at IS NULL ORDER BY id
"""  # noqa: S608 (a constant)

INSERT = """
INSERT INTO api_keys (name, digest, scope, collections, expires_at, supplied) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id
"""

UNKNOWN_COLLECTIONS = """
SELECT wanted FROM unnest($1::bigint[]) AS wanted
WHERE NOT EXISTS (SELECT FROM collections c WHERE c.id = wanted AND c.deleting_at IS NULL) ORDER BY wanted
"""


class WeakKey(InvalidRequest):
    """A supplied key could be guessed, or does not have the required form."""

    default_code = "weak_key"


class UnknownCollections(InvalidRequest):
    """A key would be for collections that do not exist."""

    default_code = "collection_not_found"


@dataclass(frozen=True)
class ApiKey:
    """A stored key, without its secret. expired: it is not valid any more."""

    id: int
    name: str
    created_at: datetime
    last_used_at: datetime | None
    permissions: Permissions
    expired: bool


@dataclass(frozen=True)
class KnownKey:
    """A key that a client sent, and that is not revoked. expired: it is not valid any more."""

    id: int
    name: str
    permissions: Permissions
    expired: bool


class ApiKeys:
    """The keys in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, permissions: Permissions = EVERYTHING) -> str:
        """Create a key and return it. Its secret cannot be read again.

        Raises UnknownCollections if it would be for a collection that does not exist.
        """
        secret = secrets.token_urlsafe(SECRET_BYTES)
        wanted = None if permissions.collections is None else sorted(permissions.collections)
        async with self._database.transaction() as connection:
            if unknown := await connection.fetch(UNKNOWN_COLLECTIONS, wanted):
                listed = ", ".join(str(row["wanted"]) for row in unknown)
                raise UnknownCollections(f"There is no collection with the id {listed}.")
            identifier = await connection.fetchval(
                INSERT, name, _digest(secret), permissions.scope, wanted, permissions.expires_at, False
            )
        return f"{identifier}.{secret}"

    async def is_valid(self, key: str | None) -> bool:
        """Return whether a key is known, not revoked and not expired."""
        found = await self.find(key)
        return found is not None and not found.expired

    async def find(self, key: str | None) -> KnownKey | None:
        """Return a key that is not revoked; None if it is unknown or revoked. It may have expired."""
        if key is None or not MIN_SUPPLIED_LENGTH <= len(key) <= MAX_KEY_LENGTH:
            return None
        generated = GENERATED_KEY.fullmatch(key)
        async with self._database.connection() as connection:
            if generated is None:
                row = await connection.fetchrow(BY_DIGEST, _digest(key), _looks_generated(key))
            else:
                secret = generated[2]
                row = await connection.fetchrow(BY_ID, int(generated[1]), _looks_generated(secret))
                if not hmac.compare_digest(b"" if row is None else row["digest"], _digest(secret)):
                    row = None
            if row is None:
                return None
            if not row["expired"]:
                await connection.execute(TOUCH, row["id"])
        return KnownKey(row["id"], row["name"], _permissions(row), row["expired"])

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
                await connection.execute(
                    "UPDATE api_keys SET supplied = true WHERE id = $1 AND supplied IS NULL", known
                )
                return known if others else None
            created: int = await connection.fetchval(INSERT, name, digest, Scope.ADMIN, None, None, True)
        return created

    async def list(self) -> list[ApiKey]:
        """List the keys that are not revoked, by id, expired ones included."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(LIST)
        return [
            ApiKey(*(row["id"], row["name"], row["created_at"], row["last_used_at"]), _permissions(row), row["expired"])
            for row in rows
        ]

    async def revoke(self, key_id: int) -> str | None:
        """Revoke a key with immediate effect, and return its name; None if no valid key has this id."""
        async with self._database.connection() as connection:
            name: str | None = await connection.fetchval(
                "UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING name", key_id
            )
        return name


def _permissions(row: asyncpg.Record) -> Permissions:
    only = None if row["collections"] is None else frozenset(row["collections"])
    return Permissions(Scope(row["scope"]), only, row["expires_at"])


def _looks_generated(secret: str) -> bool:
    return GENERATED_SECRET.fullmatch(secret) is not None


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
    if BEGINS_LIKE_GENERATED.match(key):
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
