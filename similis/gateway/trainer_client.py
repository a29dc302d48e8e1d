"""The trainer as the gateway uses it: it is told that something waits, and finds it by itself if it was not told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from similis.proto.trainer.v1 import trainer_pb2, trainer_pb2_grpc
from similis.servicekit.logs import get_logger

log = get_logger(__name__)

NUDGE_SECONDS = 2.0


class TrainerClient:
    """Nudges in the background, so that nobody waits for a trainer that is down."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = trainer_pb2_grpc.TrainerServiceStub(channel)
        self._wanted = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, channel: grpc.aio.Channel) -> AsyncIterator["TrainerClient"]:
        """A client while entered."""
        client = cls(channel)
        task = asyncio.create_task(client._run(), name="trainer-nudges")
        try:
            yield client
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def nudge(self) -> None:
        """Tells a trainer soon that a job or a deletion may be waiting."""
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._stub.Nudge(trainer_pb2.NudgeRequest(), timeout=NUDGE_SECONDS)
            except grpc.aio.AioRpcError as error:
                log.info("trainer_not_nudged", status=error.code().name)
