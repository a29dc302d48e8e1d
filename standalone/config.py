"""Settings of the one-machine run and the command line. Descriptions are for `docs/configuration.md`."""

from pathlib import Path

from pydantic import Field, PositiveFloat

from catalog.settings import PostgresUrl
from servicekit.settings import ServiceSettings
from servicekit.telemetry.logs import LogFormat


class StandaloneSettings(ServiceSettings):
    """Settings of the supervisor and of the command line; everything else passes through to the services."""

    log_format: LogFormat = "console"
    """`console` for a terminal, `json` for machines."""
    min_free_disk_bytes: int = Field(default=1 << 30, ge=0)
    """Free disk space below which `similis up` does not start, and uploads and finetunes are refused."""
    start_timeout_seconds: PositiveFloat = 300.0
    """How long a part may take to become ready."""
    database_url: PostgresUrl | None = None
    """For `similis keys`, `similis migrate` and `similis migrate-from`: a Postgres server, in place of the one in the
    data directory."""
    database_ca_file: Path | None = None
    """For the same commands: PEM file with the authorities that sign Postgres' certificate."""
