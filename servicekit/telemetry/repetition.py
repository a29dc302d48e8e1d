"""Limits how often a log repeats itself, so that a flood does not rotate everything else away.

Warnings, errors and refusals because of overload are limited by what they report. All other lines are written.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable

import structlog

# As many lines that report the same are written within so many seconds.
MOST_LINES, SECONDS = 50, 10.0
# Codes of refusals of which there are as many as somebody sends requests.
FLOODING_CODES = frozenset({"overloaded", "rate_limited"})
# How much of a library's message says what it reports.
COMPARED_CHARACTERS = 60


class Repetition:
    """Counts lines by what they report. Not for use from several threads where each count matters."""

    def __init__(self, *, most: int = MOST_LINES, seconds: float = SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._counts: Counter[str] = Counter()
        self._until = 0.0
        self._report: Callable[[dict[str, int]], None] | None = None

    def reports_to(self, report: Callable[[dict[str, int]], None]) -> None:
        """Call `report` with the number of lines that were left out, by what they report, when the time is over."""
        self._report = report

    def is_too_much(self, subject: str) -> bool:
        """Count a line. Return whether it should be left out."""
        now = time.monotonic()
        if now >= self._until:
            self._begin_again(now)
        self._counts[subject] += 1
        return self._counts[subject] > self._most

    def _begin_again(self, now: float) -> None:
        left_out = {name: count - self._most for name, count in self._counts.items() if count > self._most}
        self._counts.clear()
        self._until = now + self._seconds
        if left_out and self._report is not None:
            self._report(left_out)

    def processor(self, _: object, level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Drop our own events of which there are too many (a processor of structlog)."""
        code = event.get("code")
        is_limited = level in ("warning", "error", "critical") or code in FLOODING_CODES
        if is_limited and self.is_too_much(f"{event.get('event')} {code}" if code else str(event.get("event"))):
            raise structlog.DropEvent
        return event


class RepetitionFilter(logging.Filter):
    """Drops the warnings and errors of a library of which there are too many."""

    def __init__(self, repetition: Repetition, own: str) -> None:
        """own: the parent of our own loggers, whose events were counted already."""
        super().__init__()
        self._repetition = repetition
        self._own = own

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record should be written."""
        if record.levelno < logging.WARNING or record.name.split(".")[0] == self._own:
            return True
        return not self._repetition.is_too_much(f"{record.name} {str(record.msg)[:COMPARED_CHARACTERS]}")
