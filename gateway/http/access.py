"""Who may call what: the key is checked before anything of the body is read."""

from typing import Protocol

from aiohttp import web

from servicekit.errors import Forbidden

HEADER = "API-Key"


class Keys(Protocol):
    """Knows which keys are valid."""

    async def is_valid(self, key: str | None) -> bool: ...


class Access:
    """Checks the key of each request anew, with one lookup by primary key: a key that is revoked ends at once."""

    def __init__(self, keys: Keys, *, read_key_required: bool) -> None:
        self._keys = keys
        self._read_key_required = read_key_required

    async def check(self, request: web.Request, *, writes: bool) -> None:
        """Raises Forbidden where the route needs a key and the request has no valid one."""
        if not writes and not self._read_key_required:
            return
        if not await self._keys.is_valid(request.headers.get(HEADER)):
            raise Forbidden("The API key is missing or not valid.")
