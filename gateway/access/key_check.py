"""The check of the API key of a request, in one place: whether it is valid, and whether it allows the request."""

from collections.abc import Collection

from aiohttp import web

from catalog.keys.api_keys import GENERATED_SECRET, ApiKeys, KnownKey
from catalog.keys.permissions import Permissions, Scope
from gateway.admission.client import Clients
from gateway.audit.request_record import record_of
from gateway.http.credentials import TRUSTED
from gateway.http.responses import timestamp
from servicekit.errors import Forbidden, InvalidRequest

KEY_HEADER = "API-Key"
# Where clients of other services send a key.
OTHER_KEY_HEADERS = ("Authorization", "X-API-Key", "ApiKey", "Api_Key", "X-Auth-Token", "X-Access-Token")
KEY_PARAMETERS = ("api_key", "apikey", "key", "token", "access_token")
LISTED_COLLECTIONS = 10

# Whether a valid key was needed, or decided what the answer shows.
KEY_WAS_USED = web.RequestKey("key_was_used", bool)
# The permissions of the key that the request needed; missing if it needed none.
PERMISSIONS = web.RequestKey("permissions", Permissions)


class KeyCheck:
    """Checks the API keys of requests. read_key_required: reading needs a key, too."""

    def __init__(self, keys: ApiKeys, clients: Clients, *, read_key_required: bool) -> None:
        """clients: learns which keys are valid."""
        self._keys = keys
        self._clients = clients
        self._read_key_required = read_key_required

    async def check(self, request: web.Request, scope: Scope, *, always_keyed: bool = False) -> None:
        """Check the key of a request that needs a scope. Without a key, only reading can be allowed.

        always_keyed: a key is needed even if reading needs none. Raises Forbidden (forbidden, key_expired,
        key_not_allowed), and InvalidRequest (several_keys).
        """
        collection = record_of(request).collection
        if scope is Scope.READ and not always_keyed and not self._read_key_required:
            trusted = await self._may_see_credentials(request, collection)
            request[TRUSTED] = request[KEY_WAS_USED] = trusted
            return
        # Looked up for every request, so that a revoked key stops working at once.
        key = record_of(request).key = await self._valid_key(request)
        _check_permissions(key.permissions, scope, request, collection)
        request[TRUSTED] = request[KEY_WAS_USED] = True
        request[PERMISSIONS] = key.permissions

    async def _may_see_credentials(self, request: web.Request, collection: int | None) -> bool:
        sent = request.headers.getall(KEY_HEADER, [])
        found = await self._keys.find(sent[0]) if len(sent) == 1 else None
        if found is None or found.expired:
            return False
        self._clients.remember(sent[0], found.id)
        return _is_for(found.permissions, collection)

    async def _valid_key(self, request: web.Request) -> KnownKey:
        sent = request.headers.getall(KEY_HEADER, [])
        if len(sent) > 1:
            raise InvalidRequest(f"The request has {len(sent)} headers {KEY_HEADER}. Send one.", code="several_keys")
        key = sent[0] if sent else ""
        if not key:
            raise Forbidden("API key is missing", hint=_where_the_key_belongs(request))
        found = await self._keys.find(key)
        if found is None:
            raise Forbidden("Invalid API key", hint=_how_a_key_looks(key))
        if found.expired:
            expired = f"It expired at {timestamp(found.permissions.expires_at)}."
            raise Forbidden("Invalid API key", code="key_expired", hint=expired)
        self._clients.remember(key, found.id)
        return found


def readable_collections(request: web.Request) -> frozenset[int] | None:
    """Return the only collections that a request may read; None: all of them. For routes that read several."""
    permissions = request.get(PERMISSIONS)
    return None if permissions is None else permissions.collections


def _check_permissions(allowed: Permissions, needed: Scope, request: web.Request, collection: int | None) -> None:
    if not allowed.scope.includes(needed):
        message = f"This API key has the scope {allowed.scope}, but this request needs the scope {needed}."
        raise Forbidden(message, code="key_not_allowed")
    if allowed.collections is None:
        return
    if collection is not None and collection not in allowed.collections:
        message = f"This API key is only for {_listed(allowed.collections)}, not for collection {collection}."
        raise Forbidden(message, code="key_not_allowed")
    if needed is not Scope.READ and "id" not in request.match_info:
        message = (
            f"This API key is only for {_listed(allowed.collections)}. This request needs a key for all collections."
        )
        raise Forbidden(message, code="key_not_allowed")


def _is_for(permissions: Permissions, collection: int | None) -> bool:
    return permissions.collections is None or (collection is not None and collection in permissions.collections)


def _listed(collections: Collection[int]) -> str:
    first = sorted(collections)[:LISTED_COLLECTIONS]
    rest = len(collections) - len(first)
    words = ", ".join(map(str, first)) + (f" and {rest} more" if rest else "")
    return f"collection {words}" if len(collections) == 1 else f"the collections {words}"


def _where_the_key_belongs(request: web.Request) -> str:
    """Return a hint for a request without a key, which names the place where the client put one."""
    misplaced = next((name for name in OTHER_KEY_HEADERS if name in request.headers), None)
    if misplaced is not None:
        return f"Send it in the header {KEY_HEADER}, not in {misplaced}."
    if any(name.lower().replace("-", "_") in KEY_PARAMETERS for name in request.query):
        return f"Send it in the header {KEY_HEADER}, not in the URL, which many programs log."
    return f"Send it in the header {KEY_HEADER}."


def _how_a_key_looks(key: str) -> str | None:
    if key.lower().startswith(("bearer ", "basic ", "token ", "apikey ", '"', "'")):
        return f"The header {KEY_HEADER} must have the key alone, without a word before it and without quotes."
    if GENERATED_SECRET.fullmatch(key):
        return "Send the whole key, with the number and the dot at its beginning."
    return None
