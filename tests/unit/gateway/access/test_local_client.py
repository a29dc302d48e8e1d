"""Which requests come from a program of this machine."""

import socket
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.access.local_client import is_local


def local(peer: object, host: str = "localhost:8080", *, family: int = socket.AF_INET) -> bool:
    """Ask about a request over a connection from `peer`."""
    known = {"peername": peer, "socket": Mock(family=family)}
    transport = Mock()
    transport.get_extra_info = lambda name, default=None: known.get(name, default)
    return is_local(make_mocked_request("GET", "/metrics", headers={"Host": host}, transport=transport))


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_a_loopback_address_is_local(peer: str) -> None:
    assert local((peer, 4711))


@pytest.mark.parametrize("peer", ["192.0.2.7", "10.0.0.1", "2001:db8::7", "::ffff:192.0.2.7", "fe80::1%eth0"])
def test_any_other_address_is_not(peer: str) -> None:
    assert not local((peer, 4711))


def test_a_unix_socket_is_local() -> None:
    assert local("", family=socket.AF_UNIX)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST", "localhost."])
def test_the_host_may_name_this_machine(host: str) -> None:
    assert local(("127.0.0.1", 4711), host)


@pytest.mark.parametrize("host", ["similis.example.org", "192.0.2.7:8080", "localhost.example.org", "[::2]", ""])
def test_another_host_is_that_of_a_proxy(host: str) -> None:

    assert not local(("127.0.0.1", 4711), host)


def test_a_connection_that_is_gone_is_not_local() -> None:
    request = make_mocked_request("GET", "/metrics", headers={"Host": "localhost"})
    request._protocol.transport = None
    assert not is_local(request)
