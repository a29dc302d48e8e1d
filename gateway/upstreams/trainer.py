"""The gateway's client of the trainer: tell it that work is waiting.

That only saves time. A trainer that is not told finds the work at its next poll.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from similis.trainer.v1 import trainer_pb2, trainer_pb2_grpc

from servicekit.errors import Unavailable
from servicekit.grpc.calls import RpcCalls
from servicekit.grpc.status import from_rpc_error
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import RpcClientMetrics

log = get_logger(__name__)

SERVICE = "similis.trainer.v1.TrainerService"
HEALTH_SERVICE = "grpc.health.v1.Health"
# A second nudge does no harm.
IDEMPOTENT = ((SERVICE, "Nudge"),)
NUDGE_SECONDS = 2.0
CHECK_SECONDS = 1.0


class TrainerClient:
    """Nudge the trainer in the background, so that no request waits for one that is down."""

    def __init__(self, channel: grpc.aio.Channel, metrics: RpcClientMetrics) -> None:
        self._stub = trainer_pb2_grpc.TrainerServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._calls = RpcCalls(SERVICE, metrics)
        self._health_calls = RpcCalls(HEALTH_SERVICE, metrics)
        self._wanted = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, channel: grpc.aio.Channel, metrics: RpcClientMetrics) -> AsyncIterator["TrainerClient"]:
        """Yield a client, and send its nudges while entered."""
        client = cls(channel, metrics)
        async with in_background(client._send_nudges(), "trainer-nudges"):
            yield client

    def nudge(self) -> None:
        """Tell a trainer soon that a job or a deletion may be waiting."""
        self._wanted.set()

    async def check(self) -> None:
        """Raise ServiceError unless a trainer reports that it is serving."""
        try:
            with self._health_calls.call("Check") as metadata:
                answer = await self._health.Check(
                    health_pb2.HealthCheckRequest(service=SERVICE), timeout=CHECK_SECONDS, metadata=metadata
                )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, upstream="trainer") from error
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unavailable("The trainer is not ready.", code="trainer_unavailable")

    async def _send_nudges(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                with self._calls.call("Nudge") as metadata:
                    await self._stub.Nudge(trainer_pb2.NudgeRequest(), timeout=NUDGE_SECONDS, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                log.info("nudge_failed", status=error.code().name)
