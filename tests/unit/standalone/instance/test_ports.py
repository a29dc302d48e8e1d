"""A taken port is said before anything is started."""

import socket

import pytest

from servicekit.process.service import StartupError
from standalone.instance.ports import authority, listenable


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StartupError, match=rf"cannot listen on 127.0.0.1:{port}: Address already in use"):
            listenable("127.0.0.1", port)
        with pytest.raises(StartupError):
            listenable("0.0.0.0", port)  # noqa: S104 - refused
    assert listenable("127.0.0.1", port) == port


def test_port_0_is_a_free_one() -> None:
    assert listenable("127.0.0.1", 0) > 0


def test_a_host_that_is_not_ours_is_one_clear_line() -> None:
    with pytest.raises(StartupError, match=r"cannot listen on 203.0.113.1:80"):
        listenable("203.0.113.1", 80)


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert authority("::1", 80) == "[::1]:80"
    assert authority("localhost", 80) == "localhost:80"
