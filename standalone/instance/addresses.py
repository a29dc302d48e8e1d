"""Where the parts of an instance listen."""

import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from servicekit.process.service import StartupError


@dataclass(frozen=True)
class Addresses:
    """The API's TCP address, and the sockets of everything else."""

    host: str
    port: int
    run_directory: Path

    @property
    def qdrant(self) -> Path:
        """Qdrant's socket."""
        return self.run_directory / "qdrant.sock"

    @property
    def embedder(self) -> Path:
        """The embedder's socket."""
        return self.run_directory / "embedder.sock"

    @property
    def trainer(self) -> Path:
        """The trainer's socket."""
        return self.run_directory / "trainer.sock"

    def metrics(self, service: str) -> Path:
        """Return the socket that serves a service's metrics when they are merged."""
        return self.run_directory / f"{service}-metrics.sock"


def check_port(host: str, port: int) -> int:
    """Return `port` if a server can listen on it, or a free port for 0. Raises StartupError when it cannot."""
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
        reason = error.strerror or str(error)
        raise StartupError(f"cannot listen on {authority(host, port)}: {reason}. See --host and --port") from error


def authority(host: str, port: int) -> str:
    """Return `host:port` as URLs have it, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
