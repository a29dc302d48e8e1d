"""A proxy for TCP and Unix sockets that fails in every way: slow, silent, resetting, or holding what was sent."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

PIECE_BYTES = 65536
# How slow a slow connection is.
SLOW_BYTES, SLOW_SECONDS = 256, 0.05
POLL_SECONDS = 0.02
BACKLOG = 256

Address = tuple[str, int] | str


class Fault(Enum):
    """What the proxy does to its connections."""

    NONE = "none"
    SLOW = "slow"
    """A few kilobytes a second pass."""
    SILENT = "silent"
    """Nothing passes. What was sent passes when the fault ends, as when a network is back."""
    RESETTING = "resetting"
    """Every connection is reset, also those that are open."""
    FULL = "full"
    """Connections are accepted and closed without an answer, as by a server that has no place left."""


class Proxy:
    """Passes connections on to `target`, as the fault of the moment allows. passed: how many there were."""

    def __init__(self, listener: socket.socket, target: Address) -> None:
        self._listener = listener
        self._target = target
        self._fault = Fault.NONE
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.passed = 0
        self.hit = 0

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[None]:
        """Have a fault while entered. `hit` counts the connections that felt it."""
        self.hit = 0
        self._fault = fault
        if fault in (Fault.RESETTING, Fault.FULL):
            self._reset_all()
        try:
            yield
        finally:
            self._fault = Fault.NONE

    def accept(self) -> None:
        """Pass connections on until the proxy is closed."""
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._fault in (Fault.RESETTING, Fault.FULL):
                self.hit += 1
                _end(client, reset=self._fault is Fault.RESETTING)
                continue
            self.passed += 1
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Close the proxy and its connections."""
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._reset_all()

    def _pass(self, client: socket.socket) -> None:
        try:
            server = _connect(self._target)
        except OSError:
            _end(client, reset=False)
            return
        with self._lock:
            self._open |= {client, server}
        back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
        back.start()
        self._copy(client, server)
        back.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                self._hold()
                if self._fault is Fault.SLOW:
                    self._drip(piece, sink)
                else:
                    sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _hold(self) -> None:
        if self._fault is Fault.SILENT:
            self.hit += 1
        while self._fault is Fault.SILENT and not self._closed:
            time.sleep(POLL_SECONDS)

    def _drip(self, piece: bytes, sink: socket.socket) -> None:
        self.hit += 1
        for start in range(0, len(piece), SLOW_BYTES):
            sink.sendall(piece[start : start + SLOW_BYTES])
            if self._fault is Fault.SLOW:
                time.sleep(SLOW_SECONDS)

    def _reset_all(self) -> None:
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            self.hit += 1
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def running_proxy(target: Address, listen: Path | None = None) -> Iterator[tuple[Proxy, Address]]:
    """Run a proxy while entered, and yield it and its address: a loopback port, or the Unix socket `listen`."""
    if listen is None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(listen))
        listener.listen(BACKLOG)
    proxy = Proxy(listener, target)
    accepting = threading.Thread(target=proxy.accept, name="proxy", daemon=True)
    accepting.start()
    try:
        yield proxy, str(listen) if listen else listener.getsockname()[:2]
    finally:
        proxy.close()
        accepting.join()


def _connect(target: Address) -> socket.socket:
    if isinstance(target, tuple):
        return socket.create_connection(target, timeout=None)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(target)
    except OSError:
        connection.close()
        raise
    return connection


def _end(connection: socket.socket, *, reset: bool) -> None:
    if reset:
        with suppress(OSError):
            # Closing with data that was sent and not waited for is a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
