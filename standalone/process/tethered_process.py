"""One run of a child, tethered to the supervisor, in its own session, with its output read."""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from standalone.process.child_log import ChildLog
from standalone.process.descendants import descendants
from standalone.process.tether import tethered

# A grandchild may keep the output open after the child has ended. It is not read longer than this.
OUTPUT_SECONDS = 1.0


@dataclass(frozen=True)
class Account:
    """A user that a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class ChildCommand:
    """What to run and how. `arguments` starts with the path of the program. Only `environment` may hold secrets."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    account: Account | None = None
    death_signal: signal.Signals = signal.SIGKILL


class TetheredProcess:
    """A process that `spawn` has started. It may have ended."""

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.Task[None]) -> None:
        self._process = process
        self._output = output

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its process group."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end, kill the rest of its process group, and read the rest of its output.

        Return the exit status, or the negative number of the signal that ended it.
        """
        status = await self._process.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        await asyncio.wait({self._output}, timeout=OUTPUT_SECONDS)
        self._output.cancel()
        await asyncio.wait({self._output})
        return status

    def send(self, number: signal.Signals) -> None:
        """Send it a signal. Do nothing if it has ended."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def resume(self) -> None:
        """Let it and its descendants go on if they are suspended."""
        for process in self._family():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, its process group and its descendants."""
        # Those of Postgres are in groups of their own, and a suspended one does not notice that it is the last.
        for process in self._family():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _family(self) -> list[int]:
        """Return the ids of the process and its descendants, itself first. Empty if it has ended."""
        return [self.pid, *descendants(self.pid)] if self._process.returncode is None else []


async def spawn(command: ChildCommand, output: ChildLog, *, inherited: tuple[int, ...] = ()) -> TetheredProcess:
    """Start a command that keeps the file descriptors `inherited` open. Raises OSError.

    Call it on the main thread: the kernel sends the death signal when the thread that started the child ends.
    """
    account = command.account or Account(-1, -1)
    arguments = tethered(
        list(command.arguments),
        command.death_signal,
        directory=str(command.directory),
        uid=account.uid,
        gid=account.gid,
    )
    read_end, write_end = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            env=command.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
            pass_fds=inherited,
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    return TetheredProcess(process, asyncio.create_task(_read(read_end, output)))


async def _read(descriptor: int, output: ChildLog) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        while data := await reader.read(65536):
            output.feed(data)
    finally:
        output.end()
        transport.close()
