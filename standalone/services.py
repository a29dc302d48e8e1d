"""The children of an instance besides Postgres: their commands and settings."""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from servicekit.process.silence import Patience, Watch
from standalone.instance.addresses import Addresses
from standalone.instance.data_directory import DataDirectory
from standalone.postgres.server import database_url
from standalone.process.grpc_answer import answers_grpc
from standalone.process.probes import GatewayProbe, Probe, accepts_connections, first_of
from standalone.process.supervisor import ChildSpec, RestartPolicy
from standalone.process.tethered_process import ChildCommand

# How long a service may take to end after its own grace period.
MARGIN_SECONDS = 5.0
# Searches share the machine with finetunes, and come first.
TRAINER_NICENESS = 10
# Settings that children do not inherit. They are for servers elsewhere, while ours are reached over sockets without a
# key, or for services on machines of their own, while two children cannot share a port.
NOT_INHERITED = frozenset(
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


class Services:
    """Builds the specifications of the children of one instance. `probe` tells whether all of it is ready."""

    def __init__(
        self,
        data: DataDirectory,
        addresses: Addresses,
        *,
        environment: Mapping[str, str],
        grace_seconds: float,
        allow_private_addresses: bool,
        merge_metrics: bool = False,
        restarts: RestartPolicy | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Prepare the specifications.

        environment: the operator's environment variables.
        grace_seconds: how long a service lets its requests finish when it stops.
        merge_metrics: whether each service serves its metrics on a socket, to be merged at one address.
        restarts: how services that died are started again.
        patience: how long a service may be silent before it is started again; None: it is not watched.
        """
        self._data = data
        self._addresses = addresses
        self._environment = environment
        self._grace_seconds = grace_seconds
        self._allow_private_addresses = allow_private_addresses
        self._merge_metrics = merge_metrics
        self._restarts = restarts or RestartPolicy()
        self._patience = patience
        self.probe = GatewayProbe(addresses.host, addresses.port)

    def qdrant(self) -> ChildSpec:
        """Return the specification of the one-machine Qdrant."""
        silent = 0.0 if self._patience is None else self._patience.seconds
        arguments = (
            *("--data", str(self._data.qdrant), "--listen", f"unix:{self._addresses.qdrant}"),
            *("--silent-seconds", f"{silent:g}"),
        )
        return self._rpc_spec("qdrant", "local_qdrant", self._addresses.qdrant, {}, arguments)

    def trainer(self) -> ChildSpec:
        """Return the specification of the trainer."""
        settings = {
            "LISTEN": f"unix:{self._addresses.trainer}",
            "KEPT_IMAGES_DIRECTORY": str(self._data.kept_images),
            **self._downloads(),
            "NICENESS": str(TRAINER_NICENESS),
            **self._metrics("trainer"),
            **self._upstreams(),
        }
        return self._rpc_spec("trainer", "trainer", self._addresses.trainer, settings)

    def gateway(self) -> ChildSpec:
        """Return the specification of the gateway, which is ready once all of its upstreams are.

        The embedder is in its process. It keeps its models in the data directory, and listens for the trainer.
        """
        settings = {
            "LISTEN": f"unix:{self._addresses.embedder}",
            "MODEL_CACHE": str(self._data.models),
            "HOST": self._addresses.host,
            "PORT": str(self._addresses.port),
            # In the data directory, whose free space is checked. /tmp may be in memory.
            "SPOOL_DIRECTORY": str(self._data.spool),
            "DATA_DIRECTORY": str(self._data.root),
            **self._downloads(),
            **self._metrics("gateway"),
            "TRAINER_ADDRESS": f"unix:{self._addresses.trainer}",
            **self._upstreams(),
        }
        socket = self._addresses.metrics("embedder")
        arguments = ("--embedder-metrics", f"unix:{socket}") if self._merge_metrics else ()
        # Both answer on one event loop. A flood of connections to the API must not make it seem dead.
        alive = first_of(self.probe.is_alive, partial(answers_grpc, self._addresses.embedder))
        return self._spec(
            # First the gateway stops, then the embedder.
            *("gateway", "standalone.gateway_and_embedder", self.probe.is_ready, alive, settings, arguments),
            stops=2,
        )

    def _downloads(self) -> dict[str, str]:
        return {"ALLOW_PRIVATE_ADDRESSES": "true" if self._allow_private_addresses else "false"}

    def _metrics(self, service: str) -> dict[str, str]:
        if not self._merge_metrics:
            return {}
        return {"METRICS_HOST": f"unix:{self._addresses.metrics(service)}", "METRICS_PORT": "0"}

    def _upstreams(self) -> dict[str, str]:
        return {
            "DATABASE_URL": database_url(self._addresses.run_directory),
            "QDRANT_ADDRESS": f"unix:{self._addresses.qdrant}",
            "QDRANT_TLS": "false",
            "EMBEDDER_ADDRESS": f"unix:{self._addresses.embedder}",
        }

    def _rpc_spec(
        self, name: str, module: str, socket: Path, settings: Mapping[str, str], arguments: tuple[str, ...] = ()
    ) -> ChildSpec:
        return self._spec(name, module, accepts_connections(socket), partial(answers_grpc, socket), settings, arguments)

    def _spec(
        self,
        name: str,
        module: str,
        ready: Probe,
        alive: Probe,
        settings: Mapping[str, str],
        arguments: tuple[str, ...] = (),
        *,
        stops: int = 1,
    ) -> ChildSpec:
        """Return a specification. stops: how many services in the process stop, one after the other."""
        command = ChildCommand(
            arguments=(sys.executable, "-m", module, *arguments),
            # There is one process of each service, so there is no load balancer to wait for when it stops.
            environment=child_environment(self._environment, {**settings, "LOG_FORMAT": "json", "DRAIN_SECONDS": "0"}),
            directory=Path.cwd(),
        )
        grace = stops * self._grace_seconds + MARGIN_SECONDS
        inherited = (self._data.children_lock,)
        watch = None if self._patience is None else Watch(alive, self._patience)
        return ChildSpec(
            name, command, ready, grace_seconds=grace, policy=self._restarts, inherited=inherited, watch=watch
        )


def child_environment(operators: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return the operator's environment with our settings, which have no prefix yet, in place of the operator's.

    libpq's variables are left out, because they would point to another database.
    """
    ours = {f"SIMILIS_{name}": value for name, value in settings.items()}
    dropped = {f"{name}_FILE" for name in ours} | NOT_INHERITED
    kept = {name: value for name, value in operators.items() if not name.startswith("PG") and name not in dropped}
    # The operator's working directory stays, for relative paths in settings. No modules are imported from it.
    return {**kept, **ours, "PYTHONSAFEPATH": "1"}


def operators_environment() -> dict[str, str]:
    """Return the environment variables of this process."""
    return dict(os.environ)
