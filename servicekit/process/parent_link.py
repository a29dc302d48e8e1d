"""A child's link to the process that started it with `child_process`.

Children import as little as they can, so that they start quickly: this module needs no asyncio and no logging.
"""

import ctypes
import os
import signal
import socket

from servicekit.process.frames import Frame, FrameReceiver, frame_start

PR_SET_PDEATHSIG = 1


class ParentLink:
    """A blocking connection to the parent."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames = FrameReceiver(connection)

    @classmethod
    def open(cls, parent: int) -> "ParentLink":
        """Tie this process to `parent`, the first argument of its command line, and connect to it.

        The process ignores SIGINT: Ctrl-C reaches the whole group of a terminal, and the parent decides what ends when.
        """
        die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return cls(socket.socket(fileno=0))

    def receive(self) -> list[Frame]:
        """Wait for at least one frame. Raises EOFError when the parent has hung up."""
        return self._frames.next()

    def receive_waiting(self) -> list[Frame]:
        """Return the frames that have arrived, without waiting. Raises EOFError when the parent has hung up."""
        return self._frames.waiting()

    def send(self, header: bytes, body: bytes = b"") -> None:
        """Send a frame. Raises ConnectionError when the parent has hung up."""
        self._connection.sendall(frame_start(header, len(body)) + body)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` dies. Exits if the parent is dead already."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)
