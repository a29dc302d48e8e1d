"""The API's address is checked before anything starts."""

import socket

import pytest

from servicekit.process.service import StartupError
from standalone.instance.addresses import authority, check_port


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StartupError, match=rf"cannot listen on 127.0.0.1:{port}: Address already in use"):
            check_port("127.0.0.1", port)
        with pytest.raises(StartupError):
            check_port("0.0.0.0", port)  # noqa: S104 - refused
    assert check_port("127.0.0.1", port) == port


def test_port_0_becomes_a_free_port() -> None:
    assert check_port("127.0.0.1", 0) > 0


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartupError, match=r"cannot listen on 203.0.113.1:80"):
        check_port("203.0.113.1", 80)


def test_an_ipv6_address_is_put_in_brackets() -> None:
    assert authority("::1", 80) == "[::1]:80"
    assert authority("localhost", 80) == "localhost:80"
