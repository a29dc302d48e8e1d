"""The client's address behind proxies, and that nobody else can make it up."""

from unittest.mock import Mock

import pytest
from multidict import CIMultiDict

from gateway.audit.client_address import TrustedProxies


def address(trusted: str, remote: str | None, *forwarded: str) -> str | None:
    request = Mock(remote=remote, headers=CIMultiDict([("x-forwarded-for", value) for value in forwarded]))
    return TrustedProxies.parse(trusted).client_address(request)


@pytest.mark.parametrize(
    ("trusted", "remote", "forwarded", "client"),
    [
        ("", "192.0.2.1", [], "192.0.2.1"),
        ("", "192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.0/8", "192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.0/8", "10.1.2.3", [], "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3", [""], "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3", ["198.51.100.7"], "198.51.100.7"),
        # The client sent an address of its own making, which the proxy kept.
        ("10.0.0.0/8", "10.1.2.3", ["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.0/8", "10.1.2.3", ["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.0/8", "10.1.2.3", ["10.9.9.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.0/8, 127.0.0.1", "127.0.0.1", ["198.51.100.7, 10.4.4.4"], "198.51.100.7"),
        ("10.0.0.0/8", "10.1.2.3", ["10.4.4.4"], "10.4.4.4"),
        ("10.0.0.0/8", "10.1.2.3", ["unknown"], "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3", ["198.51.100.7, <script>"], "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3", ["198.51.100.7:4711"], "198.51.100.7"),
        ("fd00::/8", "fd00::1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("fd00::/8", "fd00::1", ["2001:DB8:0::7"], "2001:db8::7"),
        # A socket for both families.
        ("10.0.0.0/8", "::ffff:10.1.2.3", ["198.51.100.7"], "198.51.100.7"),
        ("", "::ffff:192.0.2.1", [], "192.0.2.1"),
        ("10.0.0.0/8", None, ["198.51.100.7"], None),
    ],
)
def test_the_nearest_host_that_is_no_trusted_proxy_is_the_client(
    trusted: str, remote: str | None, forwarded: list[str], client: str | None
) -> None:
    assert address(trusted, remote, *forwarded) == client


@pytest.mark.parametrize(
    ("remote", "scheme", "prefix", "address"),
    [
        ("10.1.2.3", "https", "/similis", "https://example.org:8443/similis"),
        ("10.1.2.3", "HTTPS", "/a/similis/", "https://example.org:8443/a/similis"),
        ("10.1.2.3", None, None, "http://example.org:8443"),
        ("10.1.2.3", "gopher", "/a b", "http://example.org:8443"),
        ("10.1.2.3", "https, http", "//evil.example.org", "http://example.org:8443"),
        ("10.1.2.3", "https", "similis", "https://example.org:8443"),
        ("192.0.2.1", "https", "/similis", "http://example.org:8443"),
        (None, "https", "/similis", "http://example.org:8443"),
    ],
)
def test_only_a_trusted_proxy_says_where_clients_find_us(
    remote: str | None, scheme: str | None, prefix: str | None, address: str
) -> None:
    given = {"X-Forwarded-Proto": scheme, "X-Forwarded-Prefix": prefix}
    headers = CIMultiDict((name, value) for name, value in given.items() if value is not None)
    request = Mock(remote=remote, scheme="http", host="example.org:8443", headers=headers)
    assert TrustedProxies.parse("10.0.0.0/8").own_address(request) == address


@pytest.mark.parametrize("text", ["proxy.example.org", "10.0.0.1/8", "10.0.0.0/99", "*"])
def test_a_wrong_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("*", r"\*")):
        TrustedProxies.parse(f"127.0.0.1, {text}")
