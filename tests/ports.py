"""Free ports, for processes whose port must be known before they start."""

import socket


def free_port() -> int:
    """Return a port of 127.0.0.1 that is reserved for as long as this process runs.

    A socket that never listens stays bound to it. Other processes can still listen on the port, repeatedly, but the
    system does not assign it to a server that asks for any free port, or to the client side of a connection.
    """
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port: int = kept.getsockname()[1]
        kept.detach()
    return port
