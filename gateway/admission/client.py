"""Who sent a request: the client whose share of the gateway it takes."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import IPv6Address, ip_address, ip_network

# A network of this size is one client: every host in it can use any of its addresses.
IPV6_PREFIX = 64
UNKNOWN = "unknown"
# How many valid keys are remembered. The one that was used longest ago is forgotten first.
REMEMBERED_KEYS = 10_000
DIGEST_BYTES = 16

_current: ContextVar[str] = ContextVar("client", default=UNKNOWN)


def current_client() -> str:
    """Return the client of the current request."""
    return _current.get()


@contextmanager
def requests_of(client: str) -> Iterator[None]:
    """Count what the block does as the client's."""
    token = _current.set(client)
    try:
        yield
    finally:
        _current.reset(token)


class Clients:
    """Names clients: by their API key if it was valid recently, and otherwise by their address.

    A key that was not checked yet names nobody, or one host could be as many clients as it likes. Nothing is allowed
    because of what is remembered here.
    """

    def __init__(self) -> None:
        self._valid: OrderedDict[bytes, int] = OrderedDict()

    def name(self, key: str | None, address: str | None) -> str:
        """Return the client that sends from an address, with a key if it sends one."""
        if key:
            digest = _digest(key)
            identifier = self._valid.get(digest)
            if identifier is not None:
                self._valid.move_to_end(digest)
                return f"key {identifier}"
        return network_of(address)

    def remember(self, key: str, identifier: int) -> None:
        """Name the client after a key that is valid. identifier: of the key."""
        self._valid[_digest(key)] = identifier
        if len(self._valid) > REMEMBERED_KEYS:
            self._valid.popitem(last=False)


def network_of(address: str | None) -> str:
    """Return the client behind an address: the address itself, or its network if it is of IPv6."""
    if not address:
        return UNKNOWN
    # No IPv4 address has a colon, and most clients have one of those.
    if ":" not in address:
        return address
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    return str(found.ipv4_mapped or ip_network((found, IPV6_PREFIX), strict=False))


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=DIGEST_BYTES).digest()
