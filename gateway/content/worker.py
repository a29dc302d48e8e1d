"""The gateway's side of a content process: asks, waits without blocking, and kills it when the request ends."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gateway.content.commands import Answer
from servicekit import errors
from servicekit.request_context import remaining
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

COMMAND_SECONDS = 60.0
END_SECONDS = 2.0


class ContentWorker:
    """A running content process. Its commands are those of `content_commands.COMMANDS`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()

    async def ask(self, command: str, **arguments: object) -> Answer:
        """Has a command carried out, after those that were asked for before.

        Raises the error of the tree that the process answers with, DeadlineExceeded when the request's time is over,
        Unavailable when the process dies.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(remaining(COMMAND_SECONDS)):
                    answer = await self._exchange(json.dumps({"command": command, **arguments}))
            except TimeoutError:
                raise errors.DeadlineExceeded("Reading the content took longer than it may.") from None
        kind = answer.get("error")
        if kind is None:
            return answer
        found: type[errors.ServiceError] = getattr(errors, str(kind))
        raise found(str(answer["message"]), code=str(answer["code"]))

    async def _exchange(self, line: str) -> Answer:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("a content process has pipes")
        raw = b""
        with suppress(ConnectionError):
            stdin.write(line.encode() + b"\n")
            await stdin.drain()
            raw = await stdout.readline()
        if not raw:
            status = await self._process.wait()
            log.error("content_process_died", status=status)
            raise errors.Unavailable("Reading the content failed.", code="content_process_died")
        answer: Answer = json.loads(raw)
        return answer


@asynccontextmanager
async def content_worker() -> AsyncIterator[ContentWorker]:
    """A fresh content process while entered; it is gone afterwards, whatever it was doing."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "gateway.content.worker_main", stdin=PIPE, stdout=PIPE
    )
    try:
        yield ContentWorker(process)
        if process.stdin is not None:
            process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.shield(process.wait())
