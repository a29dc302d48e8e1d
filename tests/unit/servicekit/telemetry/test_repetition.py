"""A log that repeats itself is cut short, and says how much it left out."""

import logging

import pytest
import structlog

from servicekit.telemetry.repetition import Repetition, RepetitionFilter


def is_written(repetition: Repetition, level: str, **event: object) -> bool:
    try:
        repetition.processor(None, level, dict(event))
    except structlog.DropEvent:
        return False
    return True


def record(level: int = logging.ERROR, name: str = "asyncio", message: str = "out of descriptors") -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, message, (), None)


def test_warnings_and_refusals_of_one_kind_are_limited_and_everything_else_is_not() -> None:
    repetition = Repetition(most=2)
    assert [is_written(repetition, "warning", event="a") for _ in range(3)] == [True, True, False]
    refused = [is_written(repetition, "info", event="request_refused", code="overloaded") for _ in range(3)]
    assert refused == [True, True, False]
    assert is_written(repetition, "warning", event="b")
    assert all(is_written(repetition, "info", event="request") for _ in range(9))
    assert all(is_written(repetition, "info", event="request_refused", code="not_finetuned") for _ in range(9))


def test_what_libraries_repeat_is_limited() -> None:
    keep = RepetitionFilter(Repetition(most=2), own="similis")
    assert [keep.filter(record()) for _ in range(3)] == [True, True, False]
    assert keep.filter(record(message="something else"))
    assert all(keep.filter(record(logging.INFO)) for _ in range(9))
    assert all(keep.filter(record(name="similis.gateway")) for _ in range(9))


def test_the_number_of_lines_that_were_left_out_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("servicekit.telemetry.repetition.time.monotonic", lambda: now)
    repetition = Repetition(most=2, seconds=10.0)
    reports: list[dict[str, int]] = []
    repetition.reports_to(reports.append)
    for _ in range(5):
        is_written(repetition, "error", event="a")
    now = 111.0
    assert is_written(repetition, "error", event="a")
    assert reports == [{"a": 3}]
