"""Ports for processes that have to be told theirs before they listen."""

import socket


def free_port() -> int:
    """A port of 127.0.0.1 that the system gives to nobody else for as long as this process lives.

    It is bound here, by a socket that never listens: whoever is told of it can listen there, again and again, while
    the system takes it neither for a server that asks for any port nor for a client's end of a connection.
    """
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port: int = kept.getsockname()[1]
        kept.detach()
    return port
