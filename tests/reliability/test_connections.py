"""Connections that nobody uses take neither descriptors nor time from others."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from bench.parts.load.open_loop import request
from tests.e2e.running_instance import until
from tests.ports import free_port
from tests.reliability.parts.attacker import attacker

PROBE = request("GET", "/healthz")
UNREACHABLE = "127.0.0.1:1"


@contextmanager
def gateway_with_descriptors(folder: Path, soft: int, hard: int) -> Iterator[tuple[int, psutil.Process, Path]]:
    """Run a gateway without upstreams that may have so many descriptors. Yield its port, its process and its log."""
    port, log = free_port(), folder / "log"
    settings = {
        "SIMILIS_PORT": str(port),
        "SIMILIS_DATABASE_URL": f"postgresql://{UNREACHABLE}/none",
        "SIMILIS_QDRANT_ADDRESS": UNREACHABLE,
        "SIMILIS_EMBEDDER_ADDRESS": UNREACHABLE,
        "SIMILIS_TRAINER_ADDRESS": UNREACHABLE,
        "SIMILIS_SPOOL_DIRECTORY": str(folder),
    }
    command = ["prlimit", f"--nofile={soft}:{hard}", sys.executable, "-m", "gateway"]
    with log.open("w") as output, subprocess.Popen(command, stderr=output, env={**os.environ, **settings}) as process:
        try:
            until(lambda: "gateway_listening" in log.read_text(), 60.0)
            yield port, psutil.Process(process.pid), log
        finally:
            process.terminate()
            process.wait(30)


def closed(connection: socket.socket) -> bool:
    """Return whether the gateway has closed a connection."""
    connection.setblocking(False)
    try:
        while piece := connection.recv(1000):
            assert b"503" in piece or b"overloaded" in piece
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prlimit and 127.0.0.2 are Linux")
def test_idle_connections_beyond_the_limit_on_descriptors_do_not_stop_the_gateway(tmp_path: Path) -> None:
    with gateway_with_descriptors(tmp_path, 200, 400) as (port, process, log):
        assert process.rlimit(psutil.RLIMIT_NOFILE) == (400, 400)
        with attacker(port, "127.0.0.2") as idle, attacker(port, "127.0.0.3") as modest:
            connections = [idle.open() for _ in range(450)]
            # The fault happened: there are more connections than descriptors.
            assert len(connections) > process.rlimit(psutil.RLIMIT_NOFILE)[0]
            assert modest.status_of(PROBE) == 200
            until(lambda: sum(map(closed, connections)) >= 450 - 400, 20.0)
            assert process.num_fds() < 400
            # A client that comes later is served, too, and the first client itself.
            assert modest.status_of(PROBE) == 200
            assert idle.status_of(PROBE) == 200
        assert log.stat().st_size < 100_000
