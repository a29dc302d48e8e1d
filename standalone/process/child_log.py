"""What a child writes: kept in its own log file, and shown to the operator when it matters.

Shown are the warnings and errors that it logs as events. Other lines (tracebacks, Postgres) are in the file; the one
that says why a child ended is shown when it ends.
"""

import json
import logging
import os
import re
from collections import deque
from pathlib import Path

from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

MAX_FILE_BYTES = 8 * 1024 * 1024
OLD_FILES = 2
MAX_LINE_BYTES = 64 * 1024
POSTGRES_LINE = re.compile(r"^\S+ \S+ \S+ \[\d+\] ([A-Z]+\d?): +(.*)$")
# Of use in the file only.
HIDDEN = frozenset({"time", "service", "exception", "stack"})
# Refused connections are FATAL to Postgres; they are no reason for the end of the server.
POSTGRES_REFUSAL = "the database system is"


class ChildLog:
    """The log of one child: `feed` takes its output as it comes, in pieces of any size."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._file = _RotatedFile(directory / f"{name}.log")
        self._rest = b""
        self._last: deque[str] = deque(maxlen=20)

    def feed(self, data: bytes) -> None:
        """Takes a piece of output; lines that are longer than 64 KiB are cut."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._take(line[:MAX_LINE_BYTES])

    def end(self) -> None:
        """The process is gone: what it left without a newline is a line too."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""

    def forget(self) -> None:
        """A new process begins; what an earlier one said is not its reason."""
        self._last.clear()

    def reason(self) -> str:
        """The line that says best why the process ended, for the operator."""
        for line in reversed(self._last):
            event = _json_event(line)
            if event is not None and event.get("level") in {"error", "critical"}:
                return str(event.get("reason") or event.get("error") or event.get("event"))
            found = POSTGRES_LINE.match(line)
            if found is not None and found[1] in {"FATAL", "PANIC"} and not found[2].startswith(POSTGRES_REFUSAL):
                return f"{found[1]}: {found[2]}"
        plain = [line for line in self._last if line.strip() and _json_event(line) is None]
        return plain[-1].strip() if plain else f"see {self._file.path}"

    def _take(self, raw: bytes) -> None:
        self._file.write(raw + b"\n")
        line = raw.decode("utf-8", "replace").rstrip()
        if not line:
            return
        self._last.append(line)
        event = _json_event(line)
        if event is not None:
            self._show_event(event)

    def _show_event(self, event: dict[str, object]) -> None:
        level = logging.getLevelNamesMapping().get(str(event.pop("level", "")).upper(), logging.INFO)
        if level < logging.WARNING:
            return
        name = str(event.pop("event", ""))
        fields = {key: value for key, value in event.items() if key not in HIDDEN}
        log.log(level, name, **fields, service=self._name)


def _json_event(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


class _RotatedFile:
    """A file that is appended to and set aside when it is full. A log that cannot be written stops nobody."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, data: bytes) -> None:
        try:
            with self.path.open("ab") as file:
                file.write(data)
                full = file.tell() >= MAX_FILE_BYTES
            if full:
                self._rotate()
        except OSError as error:
            log.debug("log_not_written", path=str(self.path), error=os.strerror(error.errno or 0))

    def _rotate(self) -> None:
        for number in range(OLD_FILES, 1, -1):
            newer = self.path.with_suffix(f".log.{number - 1}")
            if newer.exists():
                newer.replace(self.path.with_suffix(f".log.{number}"))
        self.path.replace(self.path.with_suffix(".log.1"))
