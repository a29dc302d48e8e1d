"""The network guard: keep downloads of untrusted URLs away from addresses that are not public.

It checks the resolved address that a socket is about to connect to. Unusual spellings of an address and changing DNS
answers therefore cannot get around it.
"""

import asyncio
import ipaddress
import socket
import ssl
from typing import TypeAlias

import aiohttp

IPv4: TypeAlias = ipaddress.IPv4Address
IPv6: TypeAlias = ipaddress.IPv6Address
# Family, type, protocol, canonical name, socket address.
AddressInfo: TypeAlias = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]

# Special addresses in IANA's registries that `is_global` does not know or counts as public.
NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in ("192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.175.48.0/24")
)
# Metadata services, where clouds hand out credentials. They stay blocked when private addresses are allowed.
# IPv4: AWS and most others, Azure, Oracle, Alibaba. IPv6: AWS, Google, OpenStack.
METADATA_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in ("169.254.0.0/16", "168.63.129.16/32", "192.0.0.192/32", "100.100.100.200/32")
)
METADATA_6 = tuple(
    ipaddress.IPv6Network(network) for network in ("fd00:ec2::254/128", "fd20:ce::254/128", "fe80::a9fe:a9fe/128")
)
METADATA_NAMES = frozenset({"metadata.google.internal", "metadata", "instance-data"})
# Domains of private networks (RFC 6761, 6762, 8375; ICANN's resolution on .internal), and customary ones.
PRIVATE_DOMAINS = tuple(
    f".{domain}"
    for domain in ("localhost", "local", "localdomain", "internal", "intranet", "lan", "corp", "home", "home.arpa")
)
# The only global unicast addresses that IANA assigns, and the parts reserved for protocols, tunnels and examples.
GLOBAL_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20", "2620:4f:8000::/48")
)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# RFC 5214: an IPv4 address follows these 32 bits of the interface identifier (the first has the global bit set).
ISATAP = (0x0200_5EFE, 0x0000_5EFE)


class BlockedAddress(OSError):
    """A connection to an address that is not public was refused. The message never names the address."""

    def __init__(self) -> None:
        super().__init__("the address is not public")


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the public Internet. address: as `getaddrinfo` returns it.

    An IPv6 address that embeds an IPv4 address (mapped, 6to4, NAT64, ISATAP) is not public unless the embedded one is.
    Teredo and the deprecated IPv4-compatible addresses are never public. Neither is text that is not an address.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return _is_public_4(parsed)
    return _is_public_6(parsed)


def is_metadata(address: str) -> bool:
    """Return whether an IP address is a cloud's metadata service. address: as `getaddrinfo` returns it."""
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
    """Return the IPv4 address that is embedded in an IPv6 one, where a connection to it may end."""
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
    """Create a socket for a resolved address. Raises BlockedAddress if the address is not public."""
    family, kind, protocol, _, address = info
    if family not in (socket.AF_INET, socket.AF_INET6) or not is_public(str(address[0])):
        raise BlockedAddress
    if len(address) > 3 and address[3]:
        raise BlockedAddress
    return socket.socket(family, kind, protocol)


def private_socket(info: AddressInfo) -> socket.socket:
    """Create a socket for a resolved address, public or private. Raises BlockedAddress for a metadata service."""
    family, kind, protocol, _, address = info
    if family not in (socket.AF_INET, socket.AF_INET6) or is_metadata(str(address[0])):
        raise BlockedAddress
    return socket.socket(family, kind, protocol)


def open_connector(
    *,
    allow_private_addresses: bool,
    limit: int,
    tls: ssl.SSLContext | bool = True,
    proxied: bool = False,
    resolver: aiohttp.abc.AbstractResolver | None = None,
) -> aiohttp.TCPConnector:
    """Return the connector of a session that fetches untrusted URLs, with at most `limit` connections at once.

    allow_private_addresses: allow all addresses except metadata services. tls: True for the public authorities.
    proxied: every request of the session goes to a proxy, whose own address may be private. Check the name of each host
    with `check_name` then. resolver: looks up names; None: in the event loop's threads. The session must have
    `trust_env=False`, because another proxy would connect without checks.
    """
    guard = private_socket if allow_private_addresses else guarded_socket
    return aiohttp.TCPConnector(
        limit=limit,
        ttl_dns_cache=10,
        resolver=resolver,
        socket_factory=None if proxied else guard,
        enable_cleanup_closed=False,
        ssl=tls,
    )


async def check_name(host: str, *, allow_private_addresses: bool) -> None:
    """Check a host that a proxy will connect to in our place. Raises BlockedAddress unless it may be asked.

    All its addresses must be allowed. A name that cannot be resolved here is left to the proxy, which may have another
    name server, unless names of its kind belong to private networks.
    """
    name = host.rstrip(".").lower()
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        private = "." not in name or name.endswith(PRIVATE_DOMAINS)
        if name in METADATA_NAMES or (private and not allow_private_addresses):
            raise BlockedAddress from None
        return
    addresses = [str(address[0]) for *_, address in found]
    if any(is_metadata(each) or not (allow_private_addresses or is_public(each)) for each in addresses):
        raise BlockedAddress


def is_blocked(error: BaseException) -> bool:
    """Return whether the guard caused an error of the HTTP client."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, BlockedAddress) or isinstance(getattr(seen, "os_error", None), BlockedAddress):
            return True
        seen = seen.__cause__
    return False
