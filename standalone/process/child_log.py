"""The output of a child: kept in its own log file, and shown to the operator when it matters.

The operator sees the warnings and errors that the child logs as events. Other lines, such as tracebacks and those of
Postgres, are in the file only. When the child ends, the line that explains it best is shown.
"""

import json
import logging
import re
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path

from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

MAX_FILE_BYTES = 8 * 1024 * 1024
OLD_FILES = 2
MAX_LINE_BYTES = 64 * 1024
POSTGRES_LINE = re.compile(r"^\S+ \S+ \S+ \[\d+\] ([A-Z]+\d?): +(.*)$")
# A line without it is no event that is shown. Most events are not, and need not be parsed.
SHOWN_LEVEL = re.compile(r'"level": *"(?:warning|error|critical)"', re.IGNORECASE)
# Fields that are of use in the file only.
HIDDEN = frozenset({"time", "service", "exception", "stack"})
# Postgres logs a refused connection as FATAL. That does not explain why the server ended.
POSTGRES_REFUSAL = "the database system is"


class ChildLog:
    """The log of one child. `feed` takes its output in pieces of any size."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._file = _LogFile(directory / f"{name}.log")
        self._rest = b""
        self._last: deque[str] = deque(maxlen=20)

    def feed(self, data: bytes) -> None:
        """Take a piece of output. Lines longer than 64 KiB are cut."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._take(line[:MAX_LINE_BYTES])

    def end(self) -> None:
        """Take the last line, even without a newline, after the process ended. More output may follow later."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        self._file.close()

    def forget(self) -> None:
        """Forget earlier output before a new process starts, so that it does not explain the new one's end."""
        self._last.clear()

    def reason(self) -> str:
        """Return the line that best explains why the process ended."""
        for line in reversed(self._last):
            event = _json_event(line)
            if event is not None and event.get("level") in {"error", "critical"}:
                return str(event.get("reason") or event.get("error") or event.get("event"))
            found = POSTGRES_LINE.match(line)
            if found is not None and found[1] in {"FATAL", "PANIC"} and not found[2].startswith(POSTGRES_REFUSAL):
                return f"{found[1]}: {found[2]}"
        plain = [line for line in self._last if line.strip() and _json_event(line) is None]
        return plain[-1].strip() if plain else f"see {self._file.baseFilename}"

    def _take(self, raw: bytes) -> None:
        line = raw.decode("utf-8", "replace").rstrip()
        self._file.append(line)
        if not line:
            return
        self._last.append(line)
        event = _json_event(line) if SHOWN_LEVEL.search(line) else None
        if event is not None:
            self._show(event)

    def _show(self, event: dict[str, object]) -> None:
        level = logging.getLevelNamesMapping().get(str(event.pop("level", "")).upper(), logging.INFO)
        if level < logging.WARNING:
            return
        name, service = str(event.pop("event", "")), event.get("service", self._name)
        fields = {key: value for key, value in event.items() if key not in HIDDEN}
        log.log(level, name, **fields, service=service)


def _json_event(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


class _LogFile(RotatingFileHandler):
    """A log file that is rotated when it is full. A log that cannot be written must not stop the child."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MAX_FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8", delay=True)

    def append(self, line: str) -> None:
        self.emit(logging.makeLogRecord({"msg": line}))

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            log.debug("child_log_not_written", path=self.baseFilename, error=error.strerror)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - the handler's own interface
        log.debug("child_log_not_written", path=self.baseFilename, exc_info=True)
