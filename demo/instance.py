"""Runs `similis up` as an operator does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from standalone.process import tether

STOP_SECONDS = 120.0


class NotStarted(Exception):
    """`similis up` ended before it was ready. It has printed the reason."""


@contextmanager
def instance(data: Path, port: int, *, defaults: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run an instance on `data` while entered, and yield its address. Raises NotStarted.

    defaults: environment variables that apply unless they are set already.
    """
    command = [sys.executable, "-m", "standalone", "up", "--data", str(data), "--port", str(port)]
    # In a separate session, so that Ctrl-C reaches only the caller, and tethered, so that it ends with the caller.
    tethered = [
        sys.executable,
        "-I",
        "-S",
        tether.__file__,
        str(os.getpid()),
        str(int(signal.SIGTERM)),
        "-1",
        "-1",
        ".",
    ]
    process = subprocess.Popen(
        [*tethered, *command, "--allow-private-addresses"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**(defaults or {}), **os.environ},
        start_new_session=True,
    )
    with process:
        try:
            yield _ready_address(process)
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _ready_address(process: "subprocess.Popen[str]") -> str:
    line = process.stdout.readline() if process.stdout else ""
    word, _, address = line.strip().partition(" ")
    if word != "ready":
        raise NotStarted(f"'similis up' did not start (exit status {process.wait()})")
    return address
