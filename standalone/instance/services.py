"""The children beside Postgres: how each is run, and what it is told."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from standalone.instance.data_directory import DataDirectory
from standalone.instance.readiness import Probe, ReadyEndpoint, accepts_unix
from standalone.postgres.server import database_url
from standalone.process.child_process import Command
from standalone.process.supervisor import ChildSpec

# What a service needs after its own grace period to end.
MARGIN_SECONDS = 5.0
# Searches share the machine with finetunes, and come first.
TRAINER_NICENESS = 10
# For servers elsewhere, as our own are reached over sockets and without a key; for machines of their own, as two
# children cannot share a port.
NOT_OURS = frozenset(
    f"SIMILIS_{name}"
    for name in (
        "QDRANT_API_KEY",
        "QDRANT_API_KEY_FILE",
        "QDRANT_CA_FILE",
        "DATABASE_CA_FILE",
        "TLS_CERT_FILE",
        "TLS_KEY_FILE",
        "TLS_CA_FILE",
        "METRICS_HOST",
        "METRICS_PORT",
        "HEALTH_PORT",
    )
)


@dataclass(frozen=True)
class Addresses:
    """Where the parts of one instance listen."""

    host: str
    port: int
    run_directory: Path

    @property
    def qdrant(self) -> Path:
        """Qdrant's socket. Its client ends every address with a port, so the socket's name does too."""
        return self.run_directory / "qdrant:6334"

    @property
    def embedder(self) -> Path:
        """The embedder's socket."""
        return self.run_directory / "embedder.sock"

    @property
    def trainer(self) -> Path:
        """The trainer's socket."""
        return self.run_directory / "trainer.sock"

    def metrics(self, service: str) -> Path:
        """The socket at which a service shows its metrics, where they are gathered."""
        return self.run_directory / f"{service}-metrics.sock"


class Services:
    """Makes the specifications of the children of one instance; `endpoint` is where it says whether it is ready."""

    def __init__(
        self,
        data: DataDirectory,
        addresses: Addresses,
        *,
        environment: Mapping[str, str],
        grace_seconds: float,
        allow_private_addresses: bool,
        gather_metrics: bool = False,
    ) -> None:
        """`environment` is the operator's; `grace_seconds` is the time that a service gives its requests to end.

        gather_metrics: each service shows its metrics at a socket, for who puts them together.
        """
        self._data = data
        self._addresses = addresses
        self._environment = environment
        self._grace_seconds = grace_seconds
        self._allow_private_addresses = allow_private_addresses
        self._gather_metrics = gather_metrics
        self.endpoint = ReadyEndpoint(addresses.host, addresses.port)

    def qdrant(self) -> ChildSpec:
        """Qdrant's engine behind its gRPC API."""
        arguments = ("--data", str(self._data.qdrant), "--listen", f"unix:{self._addresses.qdrant}")
        ready = accepts_unix(self._addresses.qdrant)
        return self._spec("qdrant", "local_qdrant", ready, {}, arguments)

    def embedder(self) -> ChildSpec:
        """The embedder; models are kept in the data directory."""
        told = {
            "LISTEN": f"unix:{self._addresses.embedder}",
            "MODEL_CACHE": str(self._data.models),
            **self._shown("embedder"),
        }
        return self._spec("embedder", "embedder", accepts_unix(self._addresses.embedder), told)

    def trainer(self) -> ChildSpec:
        """The trainer."""
        told = {
            "LISTEN": f"unix:{self._addresses.trainer}",
            "ALLOW_PRIVATE_ADDRESSES": "true" if self._allow_private_addresses else "false",
            "NICENESS": str(TRAINER_NICENESS),
            **self._shown("trainer"),
            **self._upstreams(),
        }
        return self._spec("trainer", "trainer", accepts_unix(self._addresses.trainer), told)

    def gateway(self) -> ChildSpec:
        """The gateway, ready when it says so of all that it needs."""
        told = {
            "HOST": self._addresses.host,
            "PORT": str(self._addresses.port),
            # Here, where the space was checked, and not in a /tmp that may lie in memory.
            "SPOOL_DIRECTORY": str(self._data.spool),
            "DATA_DIRECTORY": str(self._data.root),
            **self._shown("gateway"),
            "TRAINER_ADDRESS": f"unix:{self._addresses.trainer}",
            **self._upstreams(),
        }
        return self._spec("gateway", "gateway", self.endpoint.is_green, told)

    def _shown(self, service: str) -> dict[str, str]:
        if not self._gather_metrics:
            return {}
        return {"METRICS_HOST": f"unix:{self._addresses.metrics(service)}", "METRICS_PORT": "0"}

    def _upstreams(self) -> dict[str, str]:
        return {
            "DATABASE_URL": database_url(self._addresses.run_directory),
            "QDRANT_ADDRESS": f"unix:{self._addresses.qdrant}",
            "QDRANT_TLS": "false",
            "EMBEDDER_ADDRESS": f"unix:{self._addresses.embedder}",
        }

    def _spec(
        self, name: str, module: str, ready: Probe, told: Mapping[str, str], arguments: tuple[str, ...] = ()
    ) -> ChildSpec:
        command = Command(
            arguments=(sys.executable, "-m", module, *arguments),
            # Nobody balances over the processes of one machine, so none of them waits to be left.
            environment=child_environment(self._environment, {**told, "LOG_FORMAT": "json", "DRAIN_SECONDS": "0"}),
            directory=Path.cwd(),
        )
        grace = self._grace_seconds + MARGIN_SECONDS
        return ChildSpec(name, command, ready, grace_seconds=grace, inherited=(self._data.children_lock,))


def child_environment(operators: Mapping[str, str], told: Mapping[str, str]) -> dict[str, str]:
    """The operator's environment with our settings (`told`, without their prefix) in place of the operator's.

    libpq's variables are left out: they would speak of another database.
    """
    ours = {f"SIMILIS_{name}": value for name, value in told.items()}
    dropped = {f"{name}_FILE" for name in ours} | NOT_OURS
    kept = {name: value for name, value in operators.items() if not name.startswith("PG") and name not in dropped}
    # The working directory stays the operator's, for relative paths in settings; it is no place for modules.
    return {**kept, **ours, "PYTHONSAFEPATH": "1"}


def operators_environment() -> dict[str, str]:
    """The environment that this process was given."""
    return dict(os.environ)
