"""A Python module of ours in a process of its own: it exchanges frames with us and never outlives us.

The module's side is `parent_link`. Programs that are not ours are run by the supervisor's own `child_process`.
"""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self

from servicekit.process.frames import Frame, frame_start, read_frame

_SEND_BUFFER_BYTES = 1 << 20
# To copy a larger body takes longer than to send it separately.
_JOINED_BYTES = 512 * 1024


class ChildGone(Exception):
    """The child has ended, or has closed its side of the connection."""


class ChildProcess:
    """A running child."""

    def __init__(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(
        cls,
        module: str,
        *arguments: str,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        new_session: bool = False,
    ) -> Self:
        """Start `python -m module PARENT arguments…`, whose standard input is a socket to us. Raises OSError.

        pass_fds: file descriptors that the child inherits. environment: ours by default.
        Call it on the main thread: the kernel kills the child when the thread that started it ends.
        """
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", module, str(os.getpid()), *arguments),
                    stdin=theirs.fileno(),
                    stdout=DEVNULL,
                    pass_fds=pass_fds,
                    env=environment,
                    start_new_session=new_session,
                )
            return cls(process, *await asyncio.open_connection(sock=ours))
        except BaseException:
            ours.close()
            raise

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        module: str,
        *arguments: str,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        grace_seconds: float,
    ) -> AsyncIterator[Self]:
        """Run a child while the block runs. At the end it has `grace_seconds` to exit; it is killed if the block fails.

        Otherwise like `start`.
        """
        child = await cls.start(module, *arguments, pass_fds=pass_fds, environment=environment)
        try:
            yield child
            await child.end(grace_seconds)
        finally:
            child.kill()
            await asyncio.shield(child.end(grace_seconds))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, header: bytes, body: bytes = b"") -> None:
        """Send a frame. It is buffered; `drain` waits until the child has caught up."""
        start = frame_start(header, len(body))
        if len(body) <= _JOINED_BYTES:
            # The child wakes up once, when the frame is complete.
            self._writer.write(start + body)
            return
        self._writer.write(start)
        self._writer.write(body)

    async def drain(self) -> None:
        """Wait until little of what was sent is still buffered. Raises ChildGone."""
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise ChildGone from error

    async def receive(self) -> Frame:
        """Return the child's next frame, as header and body. Raises ChildGone."""
        try:
            return await read_frame(self._reader)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ChildGone from error

    async def wait(self) -> int:
        """Wait for the end of the process and return its exit status; negative: the signal that ended it."""
        return await self._process.wait()

    def hang_up(self) -> None:
        """Close the connection. The child sees the end of its input after what was sent, and exits."""
        self._writer.close()

    def kill(self) -> None:
        """Kill the process now. `wait` or `end` must follow."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self, grace_seconds: float) -> None:
        """Hang up, wait for the process, and kill it when it has not exited after `grace_seconds`."""
        self.hang_up()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
