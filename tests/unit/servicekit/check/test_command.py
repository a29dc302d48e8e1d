"""What a check prints, and its exit status."""

from collections.abc import Iterator, Mapping

import pytest
import structlog

from servicekit.check import command
from servicekit.check.command import run_check
from servicekit.check.findings import Check, Finding, failed, ok, service_failure, warning
from servicekit.errors import Unavailable
from servicekit.settings import ServiceSettings


@pytest.fixture(autouse=True)
def logging() -> Iterator[None]:
    """A check silences the log of its process."""
    yield
    structlog.reset_defaults()


def returning(*findings: Finding) -> Check:
    """Return a check that finds these in turn, and then always the last."""
    remaining = list(findings)

    async def check() -> Finding:
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    return check


def run(checks: Mapping[str, Check], *arguments: str) -> int:
    return run_check("gateway", ServiceSettings, lambda _: checks, arguments)


def test_each_part_has_a_line_and_only_failures_change_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    checks = {"postgres": returning(ok("Postgres 18")), "disk": returning(warning("10 MiB free"))}
    assert run(checks) == 0
    assert capsys.readouterr().out == "ok       postgres  Postgres 18\nwarning  disk      10 MiB free\n"
    assert run({**checks, "qdrant": returning(failed("It is down."))}) == 1
    assert "FAILED   qdrant    It is down.\n" in capsys.readouterr().out


def test_a_check_that_fails_itself_is_a_failure_of_its_part_alone(capsys: pytest.CaptureFixture[str]) -> None:
    async def broken() -> Finding:
        raise RuntimeError("what happened")

    assert run({"broken": broken, "postgres": returning(ok(""))}) == 1
    assert "what happened" in capsys.readouterr().out


def test_parts_that_are_still_starting_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "PAUSE_SECONDS", 0.0)
    starting = [failed("It is starting."), failed("It is starting."), ok("It is ready.")]
    assert run({"embedder": returning(*starting)}, "--wait", "30") == 0
    assert run({"embedder": returning(*starting)}) == 1


def test_a_wrong_setting_has_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIMILIS_NICENESS", "100")
    assert run({}) == 78
    assert capsys.readouterr().err.startswith("gateway: SIMILIS_NICENESS: ")


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "nothing listens there."),
        (OSError("[Errno -2] Name or service not known"), "the name does not resolve."),
        (TimeoutError(), "no response."),
    ],
)
def test_the_reason_of_a_failure_is_told(cause: BaseException, reason: str) -> None:
    error = Unavailable("The database is not available.")
    error.__cause__ = cause
    assert service_failure(error, "db:5432").text.startswith(f"The database is not available. db:5432: {reason}")
