"""Idle connections make room for others, and slow ones are closed."""

import time
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry

from gateway.admission.connections import Connection, ConnectionLimits, Connections
from gateway.audit.client_address import TrustedProxies
from gateway.metrics import GatewayMetrics


class Transport:
    """A connection from an address, with bytes that its client has not read. Stands for the operating system."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.unread = 0
        self.is_open = True

    def get_extra_info(self, name: str) -> object:
        return (self._address, 1234) if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.is_open = False


def connections_of(most: int = 3, of_client: int = 3, proxies: str = "") -> tuple[Connections, GatewayMetrics]:
    metrics = GatewayMetrics(CollectorRegistry())
    return Connections(ConnectionLimits(most, of_client), TrustedProxies.parse(proxies), metrics), metrics


def opened(connections: Connections, address: str) -> tuple[Transport, Connection | None]:
    transport = Transport(address)
    return transport, connections.open(Mock(wraps=transport))


def test_a_new_connection_takes_the_place_of_the_longest_idle_one_of_whoever_has_most() -> None:
    connections, metrics = connections_of()
    flood = [opened(connections, "1.1.1.1") for _ in range(3)]
    _, second = flood[1]
    assert second is not None
    second.idle_since -= 100
    _, modest = opened(connections, "2.2.2.2")
    assert modest is not None
    assert [transport.is_open for transport, _ in flood] == [True, False, True]
    assert metrics.registry.get_sample_value("similis_connections_closed_total", {"reason": "idle"}) == 1
    assert metrics.registry.get_sample_value("similis_connections") == 3


def test_connections_with_requests_are_kept_and_a_new_one_is_refused() -> None:
    connections, metrics = connections_of()
    for _ in range(3):
        _, busy = opened(connections, "1.1.1.1")
        assert busy is not None
        busy.is_idle = False
    assert opened(connections, "2.2.2.2")[1] is None
    assert metrics.registry.get_sample_value("similis_connections_closed_total", {"reason": "refused"}) == 1


def test_a_client_has_its_own_limit_and_a_trusted_proxy_has_none() -> None:
    connections, _ = connections_of(most=10, of_client=2, proxies="10.0.0.1")
    client = [opened(connections, "1.1.1.1")[0] for _ in range(4)]
    assert sum(transport.is_open for transport in client) == 2
    proxy = [opened(connections, "10.0.0.1")[0] for _ in range(4)]
    assert all(transport.is_open for transport in proxy)


def test_headers_that_crawl_end_their_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    connections, _ = connections_of()
    (slow, connection), (other, _) = opened(connections, "1.1.1.1"), opened(connections, "1.1.1.1")
    assert connection is not None
    connection.head_since = time.monotonic() - 11
    connections.sweep()
    assert (slow.is_open, other.is_open) == (False, True)


def test_a_client_that_reads_nothing_loses_its_connection_and_one_that_reads_keeps_it() -> None:
    connections, _ = connections_of()
    found = [opened(connections, "1.1.1.1") for _ in range(3)]
    for transport, _ in found:
        transport.unread = 1_000_000
    connections.sweep()
    for number, (transport, connection) in enumerate(found):
        assert connection is not None
        connection._reading_since -= 21
        if number == 1:
            transport.unread -= 30_000
        if number == 2:
            connection.has_read(48 * 1024)
    connections.sweep()
    assert [transport.is_open for transport, _ in found] == [False, True, True]


def test_what_all_clients_together_have_not_read_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.admission.connections.UNREAD_BYTES", 100)
    connections, _ = connections_of(most=5, of_client=5)
    flood, modest = [opened(connections, "1.1.1.1")[0] for _ in range(3)], opened(connections, "2.2.2.2")[0]
    for number, transport in enumerate(flood):
        transport.unread = 30 + number
    modest.unread = 35
    connections.sweep()
    assert [transport.is_open for transport in flood] == [True, True, False]
    assert modest.is_open


@pytest.mark.parametrize(
    ("most", "of_client", "descriptors", "expected"),
    [
        (0, 0, 20_000, (4096, 2048)),
        (0, 0, 1024, (768, 384)),
        (0, 0, 300, (150, 75)),
        (100, 0, 20_000, (100, 50)),
        (100, 400, 20_000, (100, 100)),
    ],
)
def test_limits_leave_descriptors_for_everything_else(
    most: int, of_client: int, descriptors: int, expected: tuple[int, int]
) -> None:
    limits = ConnectionLimits.fitting(most, of_client, descriptors)
    assert (limits.most, limits.of_client) == expected
