"""The gateway's side of a content process: send commands, wait without blocking, kill it when the request ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.content.commands import Answer, Command
from servicekit import errors
from servicekit.process.child_process import ChildGone, ChildProcess
from servicekit.request_context import remaining
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

COMMAND_SECONDS = 60.0
END_SECONDS = 2.0


class ContentWorker:
    """A running content process. It runs one command at a time."""

    def __init__(self, child: ChildProcess) -> None:
        self._child = child
        self._turn = asyncio.Lock()

    async def ask(self, command: Command[Answer]) -> Answer:
        """Run a command in the process, after all earlier ones, and return its answer.

        Raises what the command raises, DeadlineExceeded when the request's time is over, and Unavailable
        (content_process_died) when the process dies.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(remaining(COMMAND_SECONDS)):
                    outcome = await self._exchange([type(command).__name__, vars(command)])
            except TimeoutError:
                raise errors.DeadlineExceeded("Reading the upload timed out.") from None
        if error := outcome.get("error"):
            kind: type[errors.ServiceError] = getattr(errors, error["kind"])
            raise kind(error["message"], code=error["code"])
        return command.answer(**outcome["answer"])

    async def _exchange(self, request: list[object]) -> dict[str, Any]:
        try:
            self._child.send(json.dumps(request).encode())
            await self._child.drain()
            header, _ = await self._child.receive()
        except ChildGone:
            log.error("content_process_died", status=await self._child.wait())
            message = "The process that was reading the upload has died. Try again."
            raise errors.Unavailable(message, code="content_process_died") from None
        outcome: dict[str, Any] = json.loads(header)
        return outcome


@asynccontextmanager
async def content_worker() -> AsyncIterator[ContentWorker]:
    """Start a content process while entered. It always ends afterwards, even in the middle of a command."""
    async with ChildProcess.running("gateway.content.worker_main", grace_seconds=END_SECONDS) as child:
        yield ContentWorker(child)
