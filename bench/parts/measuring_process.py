"""Processes that measure on command, so that one run can measure different things in turns."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from standalone.process.tether import tethered

END_SECONDS = 10.0

Answer = dict[str, Any]


class MeasuringProcess:
    """A process that runs a module of this package. It answers each line of JSON with one, and sleeps in between.

    It ends with the process that started it, for whatever reason that one ends. It runs in a separate session, as the
    embedder's workers do. So Ctrl-C does not reach it, and Linux (autogroups) gives it the same share of busy cores.
    """

    def __init__(self, module: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        self._module = module
        process = subprocess.Popen(
            tethered([sys.executable, "-m", f"{__package__}.{module}", *arguments], signal.SIGKILL),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
            start_new_session=True,
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process, self._commands, self._answers = process, process.stdin, process.stdout

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def begin(self, **command: object) -> None:
        """Send a command. Raises SystemExit if the process has ended."""
        try:
            self._commands.write(json.dumps(command) + "\n")
            self._commands.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def result(self) -> Answer:
        """Wait for the answer. Raises SystemExit if the process has ended."""
        line = self._answers.readline()
        if not line:
            raise self._ended()
        answer: Answer = json.loads(line)
        return answer

    def ask(self, **command: object) -> Answer:
        """Send a command and wait for the answer."""
        self.begin(**command)
        return self.result()

    def close(self) -> None:
        """End the process, after what it is doing."""
        with suppress(BrokenPipeError):
            self._commands.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()

    def _ended(self) -> SystemExit:
        return SystemExit(f"the measuring process {self._module} ended: see its messages above")


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
