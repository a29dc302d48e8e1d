"""The API's TCP port: whether it can be had."""

import socket
from contextlib import closing

from servicekit.process.service import StartupError


def listenable(host: str, port: int) -> int:
    """The port that can be listened on at `host`: `port`, or a free one for 0. Raises StartupError if it is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
            found: int = probe.getsockname()[1]
            return found
    except OSError as error:
        raise StartupError(f"cannot listen on {authority(host, port)}: {error.strerror or error}") from error


def authority(host: str, port: int) -> str:
    """`host:port` as it stands in a URL, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
