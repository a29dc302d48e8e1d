"""The address of the client that sent a request, and the address that it sent it to, also behind proxies."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from aiohttp import web

HEADER = "X-Forwarded-For"
SCHEME_HEADER, PREFIX_HEADER = "X-Forwarded-Proto", "X-Forwarded-Prefix"
SCHEMES = frozenset({"http", "https"})
PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")

Address = IPv4Address | IPv6Address


class TrustedProxies:
    """The proxies whose X-Forwarded-For is believed. Any client can send that header, so others are not."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read addresses and networks, separated by commas. Raises ValueError that names the wrong one."""
        return cls(ip_network(part.strip()) for part in text.split(",") if part.strip())

    def client_address(self, request: web.BaseRequest) -> str | None:
        """Return the address of the nearest host that is not a trusted proxy; None if the connection is gone.

        Each proxy appends the address that it got the request from, so the header is read from its end.
        """
        address = _address(request.remote or "")
        if address is None:
            return request.remote
        for part in reversed(",".join(request.headers.getall(HEADER, [])).split(",")):
            following = _address(part) if self._trusts(address) else None
            if following is None:
                break
            address = following
        return str(address)

    def own_address(self, request: web.BaseRequest) -> str:
        """Return the address of this service as the client knows it, such as `https://example.org/similis`.

        A trusted proxy says so if it ended TLS, or removed the beginning of the path.
        """
        scheme, prefix = request.scheme, ""
        if self.trusts(request.remote):
            forwarded = request.headers.get(SCHEME_HEADER, "").lower()
            scheme = forwarded if forwarded in SCHEMES else scheme
            forwarded = request.headers.get(PREFIX_HEADER, "").rstrip("/")
            prefix = forwarded if PREFIX.fullmatch(forwarded) else ""
        return f"{scheme}://{request.host}{prefix}"

    def trusts(self, address: str | None) -> bool:
        """Return whether a connection from an address is one of a proxy."""
        found = _address(address or "")
        return found is not None and self._trusts(found)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> Address | None:
    """Return the address in one part of the header; some proxies add a port, and brackets around IPv6."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A socket for both families shows IPv4 addresses in this form.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
