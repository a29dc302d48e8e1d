"""Processes that measure end with the benchmark, however it ends."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.parts.instance.memory import anonymous_bytes
from bench.parts.instance.processes import instance_process
from bench.parts.measuring_process import MeasuringProcess
from bench.parts.search.http_load import save_requests
from tests.eventually import eventually
from tests.unit.standalone.process.test_supervisor import alive

# Starts a client that waits for an answer and so does not notice the end of its input, says its process id, and waits.
BENCHMARK = """
import signal, sys
from bench.parts.measuring_process import MeasuringProcess
process = MeasuringProcess("search.http_load")
process.begin(do="load", file=sys.argv[1], host="127.0.0.1", port=int(sys.argv[2]), seconds=600, clients=1)
print(process.pid, flush=True)
signal.pause()
"""


def test_a_measuring_process_ends_when_its_benchmark_is_killed(tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    save_requests(requests, [b"GET / HTTP/1.1\r\n\r\n"])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [sys.executable, "-c", BENCHMARK, str(requests), str(silent.getsockname()[1])]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as benchmark:
            assert benchmark.stdout is not None
            client = int(benchmark.stdout.readline())
            with silent.accept()[0]:
                assert alive(client)
                benchmark.kill()
        asyncio.run(eventually(lambda: not alive(client)))


def test_a_measuring_process_that_has_ended_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    process = MeasuringProcess("no_such_module")
    with pytest.raises(SystemExit, match="no_such_module ended"):
        process.ask(do="anything")
    process.close()
    assert "no_such_module" in capfd.readouterr().err


def test_only_running_processes_have_memory() -> None:
    grown = b"x" * 50_000_000
    assert anonymous_bytes(os.getpid()) > len(grown)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert anonymous_bytes(ended.pid) == 0
    assert instance_process() is None
