"""Runs `similis up` as an operator does, and reads its output."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from standalone.instance.data_directory import open_data_directory
from tests.integration.embedder_process import MODEL_CACHE
from tests.processes import offspring

SIMILIS = (sys.executable, "-m", "standalone")
STOP_SECONDS = 60.0


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return as soon as the condition holds. Fail when it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)


def similis(*arguments: str, environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end."""
    return subprocess.run(
        [*SIMILIS, *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@dataclass
class RunningInstance:
    """A `similis up` that is ready, `start_seconds` after it was started."""

    process: "subprocess.Popen[str]"
    data: Path
    address: str
    start_seconds: float

    @classmethod
    def start(
        cls,
        data: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> "RunningInstance":
        """Start one on a free port and wait until it is ready. Fail when it ends before.

        prefix: a command that runs `similis`, such as nohup.
        """
        started = time.monotonic()
        log = (data.parent / f"{data.name}.stderr").open("a")
        with log, _not_ignored(signal.SIGHUP):
            process = subprocess.Popen(
                [*prefix, *SIMILIS, "up", "--data", str(data), "--port", "0", *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        assert process.stdout is not None
        word, _, address = process.stdout.readline().strip().partition(" ")
        if word != "ready":
            process.wait()
            process.stdout.close()
            raise AssertionError(Path(log.name).read_text())
        return cls(process, data, address, time.monotonic() - started)

    def log(self) -> str:
        """Return what it wrote on standard error, in this run and the earlier ones."""
        return (self.data.parent / f"{self.data.name}.stderr").read_text()

    def family(self) -> list[psutil.Process]:
        """Return all processes below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, marker: str) -> psutil.Process:
        """Return the direct child that has `marker` in its command line."""
        return next(found for found in offspring(marker, of=self.process.pid) if found.ppid() == self.process.pid)

    def times_ready(self, name: str) -> int:
        """Return how often the child `name` has become ready."""
        return sum("child_ready" in line and f"child={name} " in line for line in self.log().splitlines())

    def get(self, path: str, *, method: str = "GET", key: str = "", seconds: float = 20) -> int:
        """Return the status of one request, or 0 when there is no answer within `seconds`."""
        parts = urlsplit(self.address)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
        try:
            connection.request(method, path, headers={"API-Key": key})
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def accepts_admin_key(self) -> bool:
        """Return whether the key in its file is valid."""
        key = (self.data / "admin-key").read_text().strip()
        return self.get("/api/verify", method="POST", key=key) == 200

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal, wait for its end and return its exit status. It may have ended already.

        If it does not stop it is killed, so that it does not disturb other tests, and the test fails.
        """
        self.process.send_signal(number)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status


@contextmanager
def _not_ignored(number: signal.Signals) -> Iterator[None]:
    """Let processes that the block starts react to a signal, even if the tests run under nohup."""
    before = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(number, before)


def data_with_shared_models(root: Path) -> Path:
    """Create a data directory at `root` that uses the converted models that all tests of a machine share."""

    async def create() -> None:
        async with open_data_directory(root, min_free_bytes=0) as data:
            MODEL_CACHE.mkdir(parents=True, exist_ok=True)
            data.models.rmdir()
            data.models.symlink_to(MODEL_CACHE)

    asyncio.run(create())
    return root
