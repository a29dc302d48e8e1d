"""The embedder that a benchmark measures."""

import os
import subprocess
import sys

import psutil

from tests.eventually import eventually
from tests.integration.embedder_process import MODEL_CACHE
from tests.processes import gone

BENCHMARK = """
import signal
from bench.embedder import service

with service({}) as (target, pid):
    print(pid, flush=True)
    signal.pause()
"""


async def test_an_embedder_ends_when_its_benchmark_is_killed() -> None:
    environment = {**os.environ, "SIMILIS_MODEL_CACHE": str(MODEL_CACHE)}
    command = (sys.executable, "-c", BENCHMARK)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as benchmark:  # noqa: ASYNC220
        assert benchmark.stdout is not None
        embedder = psutil.Process(int(benchmark.stdout.readline()))
        family = [embedder, *embedder.children(recursive=True)]
        assert embedder.is_running()
        benchmark.kill()
    await eventually(lambda: gone(family))
