"""Settings of the one-machine run and the command line. Descriptions are for `docs/configuration.md`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat

from catalog.settings import PostgresUrl, VectorPrefix
from servicekit.process.silence import Patience
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
    max_restart_delay_seconds: PositiveFloat = 30.0
    """The longest wait before a part that keeps dying is started again."""
    max_silence_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60.0
    """How long a running part may fail to answer `similis up` before it is stopped and started again. 0: for ever."""
    database_url: PostgresUrl | None = None
    """For `similis keys`, `similis migrate` and `similis migrate-from`: a Postgres server, in place of the one in the
    data directory. `similis backup` and `similis restore` use it with `--servers`."""
    database_ca_file: Path | None = None
    """For the same commands: PEM file with the authorities that sign Postgres' certificate."""
    vector_prefix: VectorPrefix = "similis"
    """Prefix of the names in the instance's Qdrant. `similis backup` and `similis restore` need the services' value."""

    @property
    def patience(self) -> Patience | None:
        """How long a part may be silent; None: for ever."""
        if not self.max_silence_seconds:
            return None
        return Patience(self.max_silence_seconds, starting_seconds=self.start_timeout_seconds)
