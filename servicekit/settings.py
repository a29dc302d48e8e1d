"""Where a service's settings come from: environment variables that begin with SIMILIS_, and secret files.

A field `qdrant_api_key` is read from SIMILIS_QDRANT_API_KEY, or from the file that SIMILIS_QDRANT_API_KEY_FILE
names, so that a secret need not stand in the environment. Fields that are paths themselves end in `_file`, and no
field may have the same name without it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from servicekit.telemetry.logs import LogFormat

PREFIX = "SIMILIS_"


class SettingsError(Exception):
    """A setting is missing or wrong; the message names the environment variable, never its value."""


class ServiceSettings(BaseSettings):
    """Settings that every service has. The text below a field is its description in `docs/configuration.md`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, use_attribute_docstrings=True)

    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""
    log_format: LogFormat = "json"
    """`json` for machines, `console` for a terminal."""
    tracing: bool = False
    """Send traces over OTLP. OpenTelemetry's own `OTEL_` variables say where to. Needs the extra `tracing`."""
    drain_seconds: Annotated[float, Field(ge=0)] = 0.0
    """After SIGTERM, report "not ready" for this long but keep taking requests, so that load balancers notice."""
    shutdown_grace_seconds: float = 20.0
    """How long requests in progress may take to finish during shutdown, in seconds."""
    niceness: Annotated[int, Field(ge=0, le=19)] = 0
    """CPU priority of the process, as for `nice`: 0 is normal, 19 the lowest."""


@dataclass(frozen=True)
class TlsFiles:
    """Where PEM files are: our certificate with its chain, its key, and the authorities that the others' come from.

    server_name: the name that upstreams' certificates carry; None: the one that they are reached by.
    """

    certificate: Path
    key: Path
    authorities: Path
    server_name: str | None = None


class RpcSettings(ServiceSettings):
    """Settings of every service that makes or answers gRPC calls."""

    tls_cert_file: Path | None = None
    """PEM file with this service's certificate and its chain. Set all three TLS files, or none for plain text.
    Servers then require a certificate from their clients. Changed files are read again without a restart."""
    tls_key_file: Path | None = None
    """PEM file with the private key of `SIMILIS_TLS_CERT_FILE`."""
    tls_ca_file: Path | None = None
    """PEM file with the authorities that sign the certificates of the other services."""
    tls_server_name: str | None = None
    """The name in the certificates of embedder and trainer, if it is not the host name of their address."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len({path is None for path in (self.tls_cert_file, self.tls_key_file, self.tls_ca_file)}) > 1:
            raise ValueError("SIMILIS_TLS_CERT_FILE, SIMILIS_TLS_KEY_FILE and SIMILIS_TLS_CA_FILE are given together")
        return self

    @property
    def tls(self) -> TlsFiles | None:
        """The files for mutual TLS; None without it."""
        if self.tls_cert_file is None or self.tls_key_file is None or self.tls_ca_file is None:
            return None
        return TlsFiles(self.tls_cert_file, self.tls_key_file, self.tls_ca_file, self.tls_server_name)


class RpcServerSettings(RpcSettings):
    """Settings of every service that answers gRPC calls."""

    health_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """A second port on the host of `SIMILIS_LISTEN` that answers gRPC health checks only, without TLS. 0 picks a free
    one. The service name `liveness` checks the process alone."""


S = TypeVar("S", bound=ServiceSettings)


def load_settings(kind: type[S]) -> S:
    """The settings of this process. Raises SettingsError with one line for each wrong variable."""
    try:
        values: Mapping[str, Any] = _from_files(kind)
        return kind(**values)
    except ValidationError as error:
        lines = [_line([str(part) for part in problem["loc"]], problem["msg"]) for problem in error.errors()]
        raise SettingsError("; ".join(lines)) from None


def _line(place: list[str], message: str) -> str:
    message = message.removeprefix("Value error, ")
    # What concerns several settings names them itself.
    return f"{PREFIX}{'_'.join(place).upper()}: {message}" if place else message


def _from_files(kind: type[ServiceSettings]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name in kind.model_fields:
        variable = f"{PREFIX}{name.upper()}_FILE"
        path = os.environ.get(variable)
        if path is None:
            continue
        try:
            values[name] = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{variable}: {error.strerror}") from None
    return values
