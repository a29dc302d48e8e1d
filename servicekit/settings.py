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
    """What every service can be told."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    log_level: str = "info"
    log_format: LogFormat = "json"
    # Traces, over OTLP; OpenTelemetry's own OTEL_ variables say where to. Needs the extra "tracing".
    tracing: bool = False
    # On SIGTERM a service first says that it is not ready, and takes new calls for so long as those who balance over
    # several of it need to see that; then what is under way has the grace period.
    drain_seconds: Annotated[float, Field(ge=0)] = 0.0
    shutdown_grace_seconds: float = 20.0
    # How far the process steps back for others of its machine, as `nice` has it.
    niceness: Annotated[int, Field(ge=0, le=19)] = 0


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
    """What every service that calls, or is called, over gRPC can be told."""

    # All three, or none: then connections between the services are not encrypted. Servers demand a certificate of
    # their clients. The files are read again when they change.
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_ca_file: Path | None = None
    # The name in the upstreams' certificates, where it is not the host name of their address.
    tls_server_name: str | None = None

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
    """What every service that is called over gRPC can be told."""

    # A second port, on the host of `listen`, that answers health checks only, and never with TLS. 0: a free one.
    health_port: Annotated[int, Field(ge=0, le=65535)] | None = None


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
