"""Run the embedder as a real process, for every test that needs one."""

import asyncio
import contextlib
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from similis.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from servicekit.grpc.channel import open_channel
from tests.eventually import eventually
from tests.ports import free_port

START_SECONDS = 60.0
STOP_SECONDS = 30.0
# All tests on a machine share the converted models.
MODEL_CACHE = Path(__file__).parents[2] / "build" / "test-models"


@dataclass(frozen=True)
class RunningEmbedder:
    """An embedder that serves. target: its gRPC address. description: its answer to `Describe`."""

    target: str
    description: embedder_pb2.DescribeResponse
    process: asyncio.subprocess.Process
    metrics_port: int

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]

    async def all_ready(self, workers: int) -> None:
        """Wait until this many workers accept images. The embedder serves as soon as one of them does."""
        await eventually(lambda: self.workers_ready() == workers)

    def workers_ready(self) -> float:
        """Return how many workers accept images, according to its metrics."""
        return self._metric("embedder_workers_ready")

    def workers_ended(self, reason: str) -> float:
        """Return how many workers were replaced for a reason, according to its metrics."""
        return self._metric("embedder_worker_ends_total", reason=reason)

    def queued(self, lane: str) -> float:
        """Return how many images of a lane wait for a worker, according to its metrics."""
        return self._metric("embedder_queue_items", lane=lane)

    def _metric(self, name: str, **labels: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=20) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        samples = (sample for family in families for sample in family.samples if sample.name == name)
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def stub(self, channel: grpc.aio.Channel) -> "embedder_pb2_grpc.EmbedderServiceAsyncStub":
        """Return a client on an open channel."""
        return embedder_pb2_grpc.EmbedderServiceStub(channel)


@contextlib.asynccontextmanager
async def running_embedder(*, model_cache: Path = MODEL_CACHE, **settings: str) -> AsyncIterator[RunningEmbedder]:
    """Run the embedder on a free port of the loopback interface while the block runs, and check that it stops cleanly.

    `settings` become environment variables: `workers="1"` is SIMILIS_WORKERS=1.
    """
    values = {"listen": f"127.0.0.1:{free_port()}", "metrics_port": str(free_port()), "model_cache": str(model_cache)}
    values |= settings
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "embedder"),
        env={**os.environ, **{f"SIMILIS_{name.upper()}": value for name, value in values.items()}},
    )
    try:
        description = await _wait_until_serving(values["listen"], process)
        yield RunningEmbedder(values["listen"], description, process, int(values["metrics_port"]))
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_SECONDS):
                assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _wait_until_serving(target: str, process: asyncio.subprocess.Process) -> embedder_pb2.DescribeResponse:
    async with asyncio.timeout(START_SECONDS), open_channel(target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
        while True:
            assert process.returncode is None, f"the embedder exited with status {process.returncode}"
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = await health.Check(health_pb2.HealthCheckRequest())
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return await stub.Describe(embedder_pb2.DescribeRequest())
            await asyncio.sleep(0.02)
