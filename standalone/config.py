"""What the one-machine run can be told by environment variables."""

from pathlib import Path

from pydantic import Field, PositiveFloat, SecretStr

from servicekit.settings import ServiceSettings
from servicekit.telemetry.logs import LogFormat


class StandaloneSettings(ServiceSettings):
    """Settings of the supervisor and of the command line; everything else passes through to the services."""

    log_format: LogFormat = "console"
    # Below this the databases would soon stop in the middle of a write.
    min_free_disk_bytes: int = Field(default=1 << 30, ge=0)
    start_timeout_seconds: PositiveFloat = 300.0
    # For `keys` and `migrate` only: a database that is not in a data directory.
    database_url: SecretStr | None = None
    database_ca_file: Path | None = None
