"""The network guard: keeps URLs that strangers give us from reaching addresses that are not public.

It looks at the very address that a socket is about to connect to, after every form that a host name or a number
can take was resolved, so that neither odd spellings nor a changed DNS answer lead past it.
"""

import ipaddress
import socket
from typing import TypeAlias

import aiohttp
from yarl import URL

IPv4: TypeAlias = ipaddress.IPv4Address
IPv6: TypeAlias = ipaddress.IPv6Address
# Family, type, protocol, canonical name, socket address.
AddressInfo: TypeAlias = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]

MAX_URL_CHARACTERS = 8000

# What IANA's registries of special addresses hold beside what `is_global` knows, and what only looks public.
NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in ("192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.175.48.0/24")
)
# Where clouds tell a machine its credentials: out of reach also where private addresses are not. AWS (and most others),
# Azure, Oracle, Alibaba; AWS, Google and OpenStack.
METADATA_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in ("169.254.0.0/16", "168.63.129.16/32", "192.0.0.192/32", "100.100.100.200/32")
)
METADATA_6 = tuple(
    ipaddress.IPv6Network(network) for network in ("fd00:ec2::254/128", "fd20:ce::254/128", "fe80::a9fe:a9fe/128")
)
# The only global unicast addresses that are given out, and what in them is for protocols, tunnels and examples.
GLOBAL_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20", "2620:4f:8000::/48")
)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# RFC 5214: the interface identifier ends in an IPv4 address after these 32 bits (the first with the global bit).
ISATAP = (0x0200_5EFE, 0x0000_5EFE)


class BlockedAddress(OSError):
    """A connection to an address that is not public was refused. The message is always the same, for all addresses."""

    def __init__(self) -> None:
        super().__init__("the address is not public")


def is_public(address: str) -> bool:
    """Whether an IP address, in the form that `getaddrinfo` gives, is one of the public Internet.

    IPv6 forms that carry an IPv4 address (mapped, 6to4, NAT64, ISATAP) are as public as what they carry; Teredo and
    the deprecated compatible form never are. Text that is no address is not public.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return _is_public_4(parsed)
    return _is_public_6(parsed)


def is_metadata(address: str) -> bool:
    """Whether an IP address, in the form that `getaddrinfo` gives, is that of a cloud's metadata service."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return any(parsed in network for network in METADATA_4)
    carried = _carried(parsed)
    return any(parsed in network for network in METADATA_6) or (carried is not None and is_metadata(str(carried)))


def _is_public_4(address: IPv4) -> bool:
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return not any(address in network for network in NOT_PUBLIC_4 + METADATA_4)


def _is_public_6(address: IPv6) -> bool:
    if address.scope_id is not None:
        return False
    carried = _carried(address)
    if carried is not None and not _is_public_4(carried):
        return False
    if address.ipv4_mapped is not None or address in NAT64:
        return True
    if address not in GLOBAL_UNICAST_6 or any(address in network for network in NOT_PUBLIC_6):
        return False
    return carried is not None or address.is_global


def _carried(address: IPv6) -> IPv4 | None:
    """The IPv4 address that connections to an IPv6 one may end at."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in NAT64:
        return _low_bits(address)
    if address.sixtofour is not None:
        return address.sixtofour
    return _low_bits(address) if (int(address) >> 32) & 0xFFFF_FFFF in ISATAP else None


def _low_bits(address: IPv6) -> IPv4:
    return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def guarded_socket(info: AddressInfo) -> socket.socket:
    """A socket for an address that was resolved. Raises BlockedAddress before anything is sent to one not public."""
    family, kind, protocol, _, address = info
    if family not in (socket.AF_INET, socket.AF_INET6) or not is_public(str(address[0])):
        raise BlockedAddress
    if len(address) > 3 and address[3]:
        raise BlockedAddress
    return socket.socket(family, kind, protocol)


def private_socket(info: AddressInfo) -> socket.socket:
    """A socket for an address that was resolved, a private one too. Raises BlockedAddress for a metadata service."""
    family, kind, protocol, _, address = info
    if family not in (socket.AF_INET, socket.AF_INET6) or is_metadata(str(address[0])):
        raise BlockedAddress
    return socket.socket(family, kind, protocol)


def open_connector(*, allow_private_addresses: bool, limit: int) -> aiohttp.TCPConnector:
    """The connector of a session that fetches what strangers name: at most `limit` connections at once.

    allow_private_addresses: connects to all addresses but those of metadata services. The session must have
    `trust_env=False`: a proxy would connect in our place.
    """
    return aiohttp.TCPConnector(
        limit=limit,
        ttl_dns_cache=10,
        socket_factory=private_socket if allow_private_addresses else guarded_socket,
        enable_cleanup_closed=False,
    )


def checked_url(url: str, *, base: URL | None = None) -> URL:
    """The URL in the form that is requested; it may be relative where there is a base.

    Raises ValueError unless it is http(s) and names a host.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise ValueError("the URL is too long")
    try:
        parsed = URL(url) if base is None else base.join(URL(url))
    except Exception as error:
        # The parser answers some texts with an IndexError.
        raise ValueError("the URL cannot be understood") from error
    if parsed.scheme not in ("http", "https"):
        raise ValueError("the URL is not http or https")
    if not parsed.host:
        raise ValueError("the URL names no host")
    # Raises for a port that is none.
    _ = parsed.port
    return parsed.with_fragment(None)


def is_blocked(error: BaseException) -> bool:
    """Whether an error of the client was caused by the guard."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, BlockedAddress) or isinstance(getattr(seen, "os_error", None), BlockedAddress):
            return True
        seen = seen.__cause__
    return False
