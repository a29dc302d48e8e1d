"""The command line in this process, with a service that answers what a test tells it to."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from similis_cli.main import main
from tests.unit.similis_client.conftest import Service, service

__all__ = ["service"]


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        return json.loads(self.output)


@dataclass(frozen=True)
class Commands:
    """Runs commands against the service."""

    service: Service
    capsys: pytest.CaptureFixture[str]

    async def run(self, *arguments: str) -> Ended:
        """Run a command without a terminal."""
        self.capsys.readouterr()
        status = await asyncio.to_thread(main, arguments)
        output, errors = self.capsys.readouterr()
        return Ended(status, output, errors)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for configuration, and no variables."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("SIMILIS_API_KEY", raising=False)
    monkeypatch.delenv("SIMILIS_URL", raising=False)
    return tmp_path


@pytest.fixture
def commands(
    service: Service, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commands:
    monkeypatch.setenv("SIMILIS_URL", service.url)
    return Commands(service, capsys)


Terminal = Callable[[], None]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a function that makes this process believe that it has a terminal of 100 columns."""

    def pretend() -> None:
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setenv("TERM", "dumb")
        for name in ("stdout", "stderr", "stdin"):
            monkeypatch.setattr(f"sys.{name}.isatty", lambda: True)

    return pretend
