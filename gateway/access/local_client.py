"""Tells whether a request comes directly from a program on this machine."""

import socket
from ipaddress import IPv6Address, ip_address

from aiohttp import web

# Headers that proxies add. Browsers add `Origin` to requests that pages of other sites make.
SIGNS = frozenset(
    {
        *("forwarded", "via", "origin", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-original-forwarded-for"),
        *("true-client-ip", "cf-connecting-ip", "fastly-client-ip", "fly-client-ip"),
    }
)
SIGN_BEGINS = "x-forwarded"


def is_local(request: web.BaseRequest) -> bool:
    """Return whether the peer is on this machine and no header shows that it forwards another client's request.

    Some proxies add no header but keep `Host`, so that has to name this machine, too.
    """
    if any(name.lower() in SIGNS or name.lower().startswith(SIGN_BEGINS) for name in request.headers):
        return False
    transport = request.transport
    connection = None if transport is None else transport.get_extra_info("socket")
    if connection is None:
        return False
    if connection.family == socket.AF_UNIX:
        return True
    return _is_loopback(request.remote or "") and _names_this_machine(request.host)


def _names_this_machine(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".") == "localhost" or _is_loopback(name)


def _is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    # A socket for both families shows IPv4 addresses in this form.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
