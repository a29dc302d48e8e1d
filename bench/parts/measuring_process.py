"""Processes that measure on command, so that everything compared takes turns within one run."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]


class MeasuringProcess:
    """A module of this package that answers one JSON line with one JSON line, and sleeps in between."""

    def __init__(self, module: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        self._process, self._commands, self._answers = process, process.stdin, process.stdout

    def begin(self, **command: object) -> None:
        """Sends a command."""
        self._commands.write(json.dumps(command) + "\n")
        self._commands.flush()

    def result(self) -> Answer:
        """Waits for the answer."""
        line = self._answers.readline()
        if not line:
            raise SystemExit("a measuring process ended")
        answer: Answer = json.loads(line)
        return answer

    def ask(self, **command: object) -> Answer:
        """Sends a command and waits for the answer."""
        self.begin(**command)
        return self.result()

    def close(self) -> None:
        """Ends the process."""
        self._commands.close()
        self._process.wait()


def answer_commands(commands: dict[str, Callable[..., Answer]]) -> None:
    """The other side: runs what is named until there are no more commands."""
    for line in sys.stdin:
        command = json.loads(line)
        sys.stdout.write(json.dumps(commands[command.pop("do")](**command)) + "\n")
        sys.stdout.flush()


def quantile(values: list[float], share: float) -> float:
    """The value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
