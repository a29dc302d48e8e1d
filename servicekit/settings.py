"""Settings of the services, from environment variables that begin with SIMILIS_ and from secret files.

A field `qdrant_api_key` is read from the file that SIMILIS_QDRANT_API_KEY_FILE names, or else from
SIMILIS_QDRANT_API_KEY, so that secrets can stay out of the environment. A field that holds a path has a name that ends
in `_file`. Its name without `_file` must not be the name of another field.
"""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from servicekit.quantities import bytes_of
from servicekit.telemetry.logs import LogFormat

PREFIX = "SIMILIS_"

Size = Annotated[int, BeforeValidator(bytes_of)]


class SettingsError(Exception):
    """A setting is missing or wrong. The message names the environment variable, never its value."""


class SecretFiles(PydanticBaseSettingsSource):
    """Read the settings whose `SIMILIS_<NAME>_FILE` variable names a file."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:  # noqa: ARG002
        """Return the content of the setting's file, or None if no file is named.

        Raises SettingsError if the file cannot be read.
        """
        variable = f"{PREFIX}{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if path is None:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except OSError as error:
            raise SettingsError(f"{variable}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{variable}: The file is not UTF-8 text") from None

    def __call__(self) -> dict[str, str | None]:
        """Return the settings that come from files."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: text for name, text in found.items() if text is not None}


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
    volume_limit: Annotated[Size, Field(gt=0)] | None = None
    """Size limit of the volume that the metric of free disk space is about, such as the `sizeLimit` of an `emptyDir`:
    `4Gi`. It holds uploads in the gateway, models in the embedder and temporary files in the trainer."""
    niceness: Annotated[int, Field(ge=0, le=19)] = 0
    """CPU priority of the process, as for `nice`: 0 is normal, 19 the lowest."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (not used, but part of the signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources of settings, in order of precedence."""
        return init_settings, SecretFiles(settings_cls), env_settings


@dataclass(frozen=True)
class TlsFiles:
    """Paths of PEM files: our certificate with its chain, its key, and the authorities that we trust.

    server_name: the name in the certificates of the upstreams; None for the host name of their address.
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
    def _has_all_tls_files_or_none(self) -> Self:
        if len({path is None for path in (self.tls_cert_file, self.tls_key_file, self.tls_ca_file)}) > 1:
            raise ValueError("SIMILIS_TLS_CERT_FILE, SIMILIS_TLS_KEY_FILE and SIMILIS_TLS_CA_FILE must be set together")
        return self

    @property
    def tls(self) -> TlsFiles | None:
        """The files for mutual TLS, or None."""
        if self.tls_cert_file is None or self.tls_key_file is None or self.tls_ca_file is None:
            return None
        return TlsFiles(self.tls_cert_file, self.tls_key_file, self.tls_ca_file, self.tls_server_name)


class RpcServerSettings(RpcSettings):
    """Settings of every service that answers gRPC calls."""

    health_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """A second port on the host of `SIMILIS_LISTEN` that answers gRPC health checks only, without TLS. 0 picks a free
    one. The service name `liveness` checks the process alone."""


def read_authorities(file: Path, name: str) -> bytes:
    """Return the certificates in a PEM file.

    name: of the setting that names the file, without the prefix. Raises SettingsError.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        return file.read_bytes()
    except ssl.SSLError as error:
        raise SettingsError(f"{PREFIX}{name}: {file} does not hold certificates in PEM format") from error
    except OSError as error:
        raise SettingsError(f"{PREFIX}{name}: {error.strerror}: {file}") from error


def quiet_grpc() -> None:
    """Limit gRPC's own log to errors, unless the operator has set its level. Call it before gRPC is imported.

    It is not in our format, and it repeats why a connection fails with each attempt.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def single_threaded_numpy() -> None:
    """Let numpy compute in one thread, unless the operator says otherwise. Call it before numpy is imported.

    Its threads wait for each other in loops. On busy processors, a product of a small matrix takes several times the
    CPU time with two of them.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


S = TypeVar("S", bound=ServiceSettings)


def load_settings(kind: type[S]) -> S:
    """Return the settings of this process. Raises SettingsError with a line for each wrong variable."""
    try:
        return kind()
    except ValidationError as error:
        lines = [_line([str(part) for part in problem["loc"]], problem["msg"]) for problem in error.errors()]
        raise SettingsError("; ".join(lines)) from None


def _line(place: list[str], message: str) -> str:
    # Two of pydantic's own phrases.
    message = message.removeprefix("Value error, ").replace("Field required", "required, but not set")
    # A message about several settings already names them.
    return f"{PREFIX}{'_'.join(place).upper()}: {message}" if place else message
