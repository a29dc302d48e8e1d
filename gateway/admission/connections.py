"""The open connections: how many there may be, and which of them are closed because they are idle or slow.

Descriptors and memory are what a connection costs, whether anything is sent over it or not.
"""

import asyncio
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from gateway.admission.client import network_of
from gateway.audit.client_address import TrustedProxies
from gateway.metrics import GatewayMetrics
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

SWEEP_SECONDS = 1.0
# How long the headers of a request may take from their first byte on.
HEAD_SECONDS = 10.0
# What a client must read of an answer within this time. Those with a slow line read more than a kilobyte per second.
READ_SECONDS, READ_BYTES = 20.0, 20 * 1024
# What all answers together may wait for in this process. Of the client with most of it, the largest one is given up.
UNREAD_BYTES = 64 * 1024 * 1024
# What may wait in the kernel besides what is on its way.
UNSENT_BYTES = 128 * 1024
# Descriptors for everything else: databases, files of uploads, content processes.
SPARE_DESCRIPTORS = 256
MOST_CONNECTIONS = 4096


@dataclass(frozen=True)
class ConnectionLimits:
    """The most connections, in all and of one client."""

    most: int
    of_client: int

    @classmethod
    def fitting(cls, most: int, of_client: int, descriptors: int) -> "ConnectionLimits":
        """Return limits that leave descriptors for everything else. 0 stands for as many as fit, and for half of all.

        descriptors: that this process may have.
        """
        room = max(descriptors - SPARE_DESCRIPTORS, descriptors // 2, 1)
        most = min(most or MOST_CONNECTIONS, room)
        return cls(most, min(of_client or max(1, most // 2), most))


class Connection:
    """What is known about one connection. `server.py` notes what happens on it."""

    def __init__(self, transport: asyncio.Transport, client: str | None) -> None:
        """client: the client that opened it; None for a trusted proxy, which stands for many."""
        self.transport = transport
        self.client = client
        self.is_idle = True
        self.idle_since = time.monotonic()
        # When the first byte of a request came whose headers are not complete; None if there is none.
        self.head_since: float | None = None
        self._read = 0
        self._unread = 0
        self._reading_since = self.idle_since

    @property
    def unread(self) -> int:
        """How many bytes wait in this process until the client reads them."""
        return self.transport.get_write_buffer_size()

    def has_read(self, size: int) -> None:
        """Note that the client has read at least as many bytes since the last look."""
        self._read += size

    def reads_too_slowly(self, now: float) -> bool:
        """Look at the answer that is being sent. Return whether the client reads less of it than it must."""
        unread = self.unread
        self._read += max(0, self._unread - unread)
        self._unread = unread
        if not unread or self._read >= READ_BYTES:
            self._read, self._reading_since = 0, now
        return now - self._reading_since > READ_SECONDS


class Connections:
    """All connections of this process."""

    def __init__(self, limits: ConnectionLimits, proxies: TrustedProxies, metrics: GatewayMetrics) -> None:
        self._limits = limits
        self._proxies = proxies
        self._metrics = metrics
        self._of_client: dict[str | None, dict[Connection, None]] = defaultdict(dict)
        self._number = 0

    def open(self, transport: asyncio.Transport) -> Connection | None:
        """Return a new connection; None if there is no place for it. An idle one may be closed for it."""
        address = (transport.get_extra_info("peername") or (None,))[0]
        client = None if self._proxies.trusts(address) else network_of(address)
        if not self._make_room(client):
            self._closed("refused", client)
            return None
        _bound_unsent(transport)
        connection = Connection(transport, client)
        self._of_client[client][connection] = None
        self._number += 1
        self._metrics.connections.inc()
        return connection

    def close(self, connection: Connection) -> None:
        """Forget a connection that is closed. Doing so twice is allowed."""
        of_client = self._of_client.get(connection.client, {})
        if connection not in of_client:
            return
        del of_client[connection]
        if not of_client:
            del self._of_client[connection.client]
        self._number -= 1
        self._metrics.connections.dec()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Close connections that are too slow while the block runs."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def sweep(self) -> None:
        """Close the connections that send their headers or read their answers too slowly."""
        now = time.monotonic()
        every = [connection for of_client in self._of_client.values() for connection in of_client]
        for connection in every:
            if connection.head_since is not None and now - connection.head_since > HEAD_SECONDS:
                self._abort(connection, "slow_head")
            elif connection.reads_too_slowly(now):
                self._abort(connection, "slow_reader")
        self._bound_unread()

    def _bound_unread(self) -> None:
        unread = {client: sum(one.unread for one in found) for client, found in self._of_client.items()}
        while sum(unread.values()) > UNREAD_BYTES:
            client = max(unread, key=lambda name: unread[name])
            largest = max(self._of_client[client], key=lambda one: one.unread)
            unread[client] -= largest.unread
            self._abort(largest, "slow_reader")

    def _make_room(self, client: str | None) -> bool:
        """Return whether a client may open another connection, after closing an idle one if that is needed."""
        own = len(self._of_client.get(client, ()))
        if client is not None and own >= self._limits.of_client:
            return self._close_idle(client)
        if self._number < self._limits.most:
            return True
        largest = max(self._of_client, key=lambda name: len(self._of_client[name]))
        return self._close_idle(client if own >= len(self._of_client[largest]) else largest)

    def _close_idle(self, client: str | None) -> bool:
        """Close the connection of a client that has been idle for longest, or else one with incomplete headers."""
        candidates = [one for one in self._of_client.get(client, ()) if one.is_idle]
        if not candidates:
            return False
        self._abort(min(candidates, key=lambda one: (one.head_since is not None, one.idle_since)), "idle")
        return True

    def _abort(self, connection: Connection, reason: str) -> None:
        self._closed(reason, connection.client)
        self.close(connection)
        connection.transport.abort()

    def _closed(self, reason: str, client: str | None) -> None:
        self._metrics.connections_closed.labels(reason).inc()
        log.warning("connection_closed", reason=reason, client=client or "proxy", open=self._number)


def _bound_unsent(transport: asyncio.Transport) -> None:
    found = transport.get_extra_info("socket")
    # macOS names it differently, and there the kernel's own bound holds.
    if found is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
