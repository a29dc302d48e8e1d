"""The gateway's side of a content process: ask, wait without blocking, and kill it when the request ends."""

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
    """A running content process."""

    def __init__(self, child: ChildProcess) -> None:
        self._child = child
        self._turn = asyncio.Lock()

    async def ask(self, command: Command[Answer]) -> Answer:
        """Run a command in the process, after those asked for before, and return its answer.

        Raises the service error with which the command failed, DeadlineExceeded when the request's time is over, and
        Unavailable when the process dies.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(remaining(COMMAND_SECONDS)):
                    outcome = await self._exchange([type(command).__name__, vars(command)])
            except TimeoutError:
                raise errors.DeadlineExceeded("Reading the content timed out.") from None
        if refusal := outcome.get("refusal"):
            kind: type[errors.ServiceError] = getattr(errors, refusal["kind"])
            raise kind(refusal["message"], code=refusal["code"])
        return command.answer(**outcome["answer"])

    async def _exchange(self, request: list[object]) -> dict[str, Any]:
        try:
            self._child.send(json.dumps(request).encode())
            await self._child.drain()
            header, _ = await self._child.receive()
        except ChildGone:
            log.error("content_process_died", status=await self._child.wait())
            raise errors.Unavailable("Reading the content failed.", code="content_process_died") from None
        outcome: dict[str, Any] = json.loads(header)
        return outcome


@asynccontextmanager
async def content_worker() -> AsyncIterator[ContentWorker]:
    """Run a new content process while the block runs. It is gone afterwards, whatever it was doing."""
    async with ChildProcess.running("gateway.content.worker_main", grace_seconds=END_SECONDS) as child:
        yield ContentWorker(child)
