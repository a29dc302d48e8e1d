"""The network guard blocks every address that is not public, in every spelling."""

import ipaddress
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from servicekit.network_guard import (
    BlockedAddress,
    check_name,
    guarded_socket,
    is_blocked,
    is_metadata,
    is_public,
    open_connector,
    private_socket,
)
from servicekit.request_url import checked_url

PUBLIC = [
    "8.8.8.8",
    "129.206.100.1",
    "1.1.1.1",
    "2001:7c0:2c00::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]
NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "168.63.129.16",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2001:20::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:c0a8:101::1",
    "2a00:1450:4001:800:0:5efe:7f00:1",
    "2a00:1450:4001:800:200:5efe:a00:1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "",
    "localhost",
    "127.1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_public_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_special_addresses_and_invalid_text_are_not_public(address: str) -> None:
    assert not is_public(address)


private_networks = st.sampled_from(
    ["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "0.0.0.0/8"]
)


@given(private_networks, st.integers(0, 2**32 - 1))
def test_a_private_address_stays_private_inside_an_ipv6_address(network: str, number: int) -> None:
    net = ipaddress.IPv4Network(network)
    inner = int(net.network_address) | (number & int(net.hostmask))
    wrapped = [
        ipaddress.IPv6Address(0xFFFF << 32 | inner),
        ipaddress.IPv6Address(0x64FF9B << 96 | inner),
        ipaddress.IPv6Address(0x2002 << 112 | inner << 80 | 1),
        ipaddress.IPv6Address(inner),
        ipaddress.IPv6Address((0x2A00_1450_4001_0800 << 64) | 0x5EFE << 32 | inner),
        # Teredo inverts the bits of the client's address.
        ipaddress.IPv6Address(0x2001_0000_0808_0808 << 64 | (inner ^ 0xFFFF_FFFF)),
    ]
    assert not is_public(str(ipaddress.IPv4Address(inner)))
    assert not any(is_public(str(address)) for address in wrapped)


@given(st.ip_addresses(v=4))
def test_an_address_that_the_standard_library_calls_private_is_never_public(address: ipaddress.IPv4Address) -> None:
    assert not (is_public(str(address)) and (address.is_private or address.is_multicast or address.is_loopback))


METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "192.0.0.192",
    "100.100.100.200",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::a9fe:a9fe",
    "fe80::a9fe:a9fe%eth0",
    "::ffff:169.254.169.254",
    "64:ff9b::168.63.129.16",
    "2002:a9fe:a9fe::1",
    "2a00:1450:4001:800:0:5efe:a9fe:a9fe",
]


@pytest.mark.parametrize("address", METADATA)
def test_metadata_services_stay_blocked_when_private_addresses_are_allowed(address: str) -> None:
    assert is_metadata(address)
    assert not is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(BlockedAddress):
        private_socket((family, socket.SOCK_STREAM, 6, "", (address, 80)))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "8.8.8.8", "fd12::1", "fe80::1%eth0"])
def test_private_addresses_that_are_not_metadata_services_can_be_allowed(address: str) -> None:
    assert not is_metadata(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    private_socket((family, socket.SOCK_STREAM, 6, "", (address, 80))).close()


def test_a_guarded_socket_is_only_created_for_a_public_address() -> None:
    kind = socket.SOCK_STREAM
    with pytest.raises(BlockedAddress):
        guarded_socket((socket.AF_INET, kind, 6, "", ("127.0.0.1", 80)))
    with pytest.raises(BlockedAddress):
        guarded_socket((socket.AF_INET6, kind, 6, "", ("2a00:1450:4001:800::200e", 80, 0, 2)))
    with pytest.raises(BlockedAddress):
        guarded_socket((socket.AF_UNIX, kind, 0, "", ("/run/docker.sock",)))
    guarded_socket((socket.AF_INET, kind, 6, "", ("8.8.8.8", 80))).close()


@pytest.fixture
async def secret_port() -> AsyncIterator[int]:
    """Run an internal service that must not be reachable, and return its port."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="secret")

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "0.0.0.0",  # noqa: S104
    "0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "user:secret@127.0.0.1",
    "8.8.8.8@127.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
]


@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_a_host_reaches_an_internal_service(host: str, secret_port: int) -> None:
    connector = open_connector(allow_private_addresses=False, limit=2)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        with pytest.raises((aiohttp.ClientError, ValueError)) as error:
            await session.get(checked_url(f"http://{host}:{secret_port}/"), allow_redirects=False)
    # Some resolvers and parsers reject a spelling before it becomes an address.
    assert is_blocked(error.value) or isinstance(error.value, aiohttp.ClientConnectorDNSError | ValueError)


async def test_a_connector_that_allows_private_addresses_reaches_an_internal_service(secret_port: int) -> None:
    connector = open_connector(allow_private_addresses=True, limit=2)
    async with aiohttp.ClientSession(connector=connector) as session:
        response = await session.get(checked_url(f"http://127.0.0.1:{secret_port}/"))
        assert await response.text() == "secret"


async def test_a_name_that_resolves_to_a_private_address_is_blocked(secret_port: int) -> None:
    class LoopbackResolver(aiohttp.abc.AbstractResolver):
        """Resolve every name to a loopback address."""

        async def resolve(
            self,
            host: str,
            port: int = 0,
            family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002
        ) -> list[aiohttp.abc.ResolveResult]:
            return [
                aiohttp.abc.ResolveResult(
                    hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0
                )
            ]

        async def close(self) -> None: ...

    connector = aiohttp.TCPConnector(resolver=LoopbackResolver(), socket_factory=guarded_socket)
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as error:
            await session.get(f"http://images.example.org:{secret_port}/")
    assert is_blocked(error.value)


BLOCKED_NAMES = ["localhost", "127.0.0.1", "0x7f.1", "2130706433", "::1", "169.254.169.254", "10.0.0.1", "printer"]
BLOCKED_NAMES += ["metadata.google.internal", "archive.intranet", "nas.local", "METADATA.Google.Internal."]


@pytest.mark.parametrize("name", BLOCKED_NAMES)
async def test_a_proxy_is_not_asked_for_names_of_private_networks(name: str) -> None:
    with pytest.raises(BlockedAddress):
        await check_name(name, allow_private_addresses=False)


@pytest.mark.parametrize("name", ["8.8.8.8", "no-such-host.similis.example"])
async def test_a_proxy_may_be_asked_for_public_addresses_and_for_names_that_only_it_can_resolve(name: str) -> None:
    await check_name(name, allow_private_addresses=False)


async def test_a_proxy_is_asked_for_private_names_if_they_are_allowed_but_never_for_metadata_services() -> None:
    for name in ("localhost", "10.0.0.1", "archive.intranet"):
        await check_name(name, allow_private_addresses=True)
    for name in ("169.254.169.254", "metadata.google.internal", "0xa9fea9fe"):
        with pytest.raises(BlockedAddress):
            await check_name(name, allow_private_addresses=True)
