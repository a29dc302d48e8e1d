"""The trainer's gRPC service."""

from collections.abc import Callable

import grpc
from similis.trainer.v1 import trainer_pb2, trainer_pb2_grpc

SERVICE = "similis.trainer.v1.TrainerService"

Context = grpc.aio.ServicerContext[object, object]


class TrainerServicer(trainer_pb2_grpc.TrainerServiceServicer):
    """Passes nudges on to the parts that look for work."""

    def __init__(self, nudge: Callable[[], None]) -> None:
        """nudge: makes workers and janitor look for work now."""
        self._nudge = nudge

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        trainer_pb2_grpc.add_TrainerServiceServicer_to_server(self, server)

    async def Nudge(self, request: trainer_pb2.NudgeRequest, context: Context) -> trainer_pb2.NudgeResponse:  # noqa: N802, ARG002
        """Look for work now instead of at the next poll."""
        self._nudge()
        return trainer_pb2.NudgeResponse()
