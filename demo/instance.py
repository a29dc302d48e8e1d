"""`similis up` as an operator runs it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from standalone.process import tether

STOP_SECONDS = 120.0


class NotStarted(Exception):
    """`similis up` ended before it was ready; it has said why."""


@contextmanager
def instance(data: Path, port: int) -> Iterator[str]:
    """An instance on `data` while entered; yields its address. Raises NotStarted."""
    command = [sys.executable, "-m", "standalone", "up", "--data", str(data), "--port", str(port)]
    # In a session of its own, so that Ctrl-C stops the demo, and the demo stops it; tethered, so that it never stays.
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
        raise NotStarted(f"'similis up' ended with status {process.wait()}")
    return address
