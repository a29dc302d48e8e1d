"""Connections of a client that does not behave, at an address of its own."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

ANSWER_SECONDS = 30.0
READ_BYTES = 65536


class Attacker:
    """Opens connections from one address and keeps them open. port: of the gateway."""

    def __init__(self, port: int, address: str) -> None:
        self._port = port
        self._address = address
        self.connections: list[socket.socket] = []

    def open(self, sent: bytes = b"") -> socket.socket:
        """Open a connection and send something on it."""
        connection = socket.create_connection(
            ("127.0.0.1", self._port), timeout=ANSWER_SECONDS, source_address=(self._address, 0)
        )
        self.connections.append(connection)
        connection.sendall(sent)
        return connection

    def status_of(self, message: bytes) -> int:
        """Send a whole request, and return the status of its answer; 0 if there is none."""
        return status_on(self.open(message))

    def close(self) -> None:
        """Close all connections."""
        for connection in self.connections:
            connection.close()


@contextmanager
def attacker(port: int, address: str) -> Iterator[Attacker]:
    """Attack while entered."""
    found = Attacker(port, address)
    try:
        yield found
    finally:
        found.close()


def status_on(connection: socket.socket) -> int:
    """Return the status of the answer on a connection; 0 if it was closed without one."""
    head = b""
    try:
        while b" " not in head or len(head) < len("HTTP/1.1 200"):
            piece = connection.recv(READ_BYTES)
            if not piece:
                return 0
            head += piece
    except ConnectionError:
        return 0
    return int(head.split(b" ", 2)[1])


def has_answer(connection: socket.socket) -> bool:
    """Return whether something came back on a connection, or it was closed."""
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        connection.settimeout(ANSWER_SECONDS)
    return True
