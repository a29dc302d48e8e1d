"""Where a service's settings come from: environment variables that begin with SIMILIS_, and secret files.

A field `qdrant_api_key` is read from SIMILIS_QDRANT_API_KEY, or from the file that SIMILIS_QDRANT_API_KEY_FILE
names, so that a secret need not stand in the environment.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from similis.servicekit.logs import LogFormat

PREFIX = "SIMILIS_"


class SettingsError(Exception):
    """A setting is missing or wrong; the message names the environment variable, never its value."""


class ServiceSettings(BaseSettings):
    """What every service can be told."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    log_level: str = "info"
    log_format: LogFormat = "json"
    shutdown_grace_seconds: float = 20.0
    # How far the process steps back for others of its machine, as `nice` has it.
    niceness: Annotated[int, Field(ge=0, le=19)] = 0


S = TypeVar("S", bound=ServiceSettings)


def load_settings(kind: type[S]) -> S:
    """The settings of this process. Raises SettingsError with one line for each wrong variable."""
    try:
        values: Mapping[str, Any] = _from_files(kind)
        return kind(**values)
    except ValidationError as error:
        lines = [
            f"{PREFIX}{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise SettingsError("; ".join(lines)) from None


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
