"""Runs `similis up` as an operator does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from standalone.process.tether import tethered

STOP_SECONDS = 120.0


class NotStarted(Exception):
    """`similis up` ended before it was ready. It has printed the reason."""


@contextmanager
def instance(
    data: Path, port: int, *, defaults: Mapping[str, str] | None = None, log: IO[str] | None = None
) -> Iterator[str]:
    """Run an instance on `data` while entered, and yield its address. Raises NotStarted.

    defaults: environment variables that apply unless they are set already. log: a file for its messages, in place of
    our standard error.
    """
    command = [sys.executable, "-m", "standalone", "up", "--data", str(data), "--port", str(port)]
    # In a separate session, so that Ctrl-C reaches only the caller, and tethered, so that it ends with the caller.
    process = subprocess.Popen(
        tethered([*command, "--allow-private-addresses"], signal.SIGTERM),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
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
