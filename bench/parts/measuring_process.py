"""Processes that measure on command, so that one run can measure different things in turns."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]


class MeasuringProcess:
    """A process that runs a module of this package. It answers each line of JSON with one, and sleeps in between."""

    def __init__(self, module: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process, self._commands, self._answers = process, process.stdin, process.stdout

    def begin(self, **command: object) -> None:
        """Send a command."""
        self._commands.write(json.dumps(command) + "\n")
        self._commands.flush()

    def result(self) -> Answer:
        """Wait for the answer."""
        line = self._answers.readline()
        if not line:
            raise SystemExit("a measuring process exited")
        answer: Answer = json.loads(line)
        return answer

    def ask(self, **command: object) -> Answer:
        """Send a command and wait for the answer."""
        self.begin(**command)
        return self.result()

    def close(self) -> None:
        """End the process."""
        self._commands.close()
        self._process.wait()


def answer_commands(commands: dict[str, Callable[..., Answer]]) -> None:
    """Run commands by name until standard input ends. This is the side of the process."""
    for line in sys.stdin:
        command = json.loads(line)
        sys.stdout.write(json.dumps(commands[command.pop("do")](**command)) + "\n")
        sys.stdout.flush()


def quantile(values: list[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
