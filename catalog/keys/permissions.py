"""What an API key may do: its scope, the collections that it is for, and when it expires."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# How long before its expiry a key is reported.
EXPIRES_SOON = timedelta(days=14)


class Scope(StrEnum):
    """What a key may do. Each scope includes the ones before it."""

    READ = "read"
    # Content, images and finetunes.
    WRITE = "write"
    # Also create, rename and delete collections.
    ADMIN = "admin"

    def includes(self, other: "Scope") -> bool:
        """Return whether a key of this scope may do what `other` allows."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class Permissions:
    """The permissions of a key.

    collections: the only ones that the key is for; None: all of them, and those that will be created. expires_at: None
    if the key does not expire.
    """

    scope: Scope = Scope.ADMIN
    collections: frozenset[int] | None = None
    expires_at: datetime | None = None


EVERYTHING = Permissions()
