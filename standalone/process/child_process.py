"""One run of a child: started tethered to us, in a session of its own, with its output read."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from standalone.process import tether
from standalone.process.child_log import ChildLog

# A grandchild may hold the output open after the child; nobody waits for it longer.
OUTPUT_SECONDS = 1.0


@dataclass(frozen=True)
class Account:
    """A user that a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Command:
    """What is run and how; `arguments` begins with the program's path. None of it may be secret but `environment`."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    account: Account | None = None
    death_signal: signal.Signals = signal.SIGKILL


class ChildProcess:
    """A process that runs, or has run."""

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.Task[None]) -> None:
        self._process = process
        self._output = output

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its process group."""
        return self._process.pid

    async def wait(self) -> int:
        """Its exit status (negative: the signal that ended it), after its output was read and its group is gone."""
        status = await self._process.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        await asyncio.wait({self._output}, timeout=OUTPUT_SECONDS)
        self._output.cancel()
        await asyncio.wait({self._output})
        return status

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal; nothing happens when it is gone."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it and its process group now."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


async def spawn(command: Command, output: ChildLog, *, inherited: tuple[int, ...] = ()) -> ChildProcess:
    """Starts a command; `inherited` are file descriptors that it keeps open. Raises OSError.

    It must be called on the main thread: the kernel takes the death of the starting thread for that of the parent.
    """
    account = command.account or Account(-1, -1)
    arguments = (
        *(sys.executable, "-I", "-S", str(Path(tether.__file__))),
        *(str(number) for number in (os.getpid(), int(command.death_signal), account.uid, account.gid)),
        *(str(command.directory), *command.arguments),
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
    return ChildProcess(process, asyncio.create_task(_read(read_end, output)))


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
