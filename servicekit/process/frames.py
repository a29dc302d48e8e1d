"""Frames: the messages between a process and its child, over a socket pair.

A frame is the length of its header and of its body (unsigned 32 bits each, little-endian), then header and body.
"""

import socket
import struct
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncio  # Children import this module, and asyncio would slow their start.

Frame: TypeAlias = tuple[bytes, bytes]

_LENGTHS = struct.Struct("<II")
_RECEIVE_BYTES = 1 << 20


def frame_start(header: bytes, body_length: int = 0) -> bytes:
    """Return a frame without its body, so that a large body need not be copied."""
    return _LENGTHS.pack(len(header), body_length) + header


async def read_frame(reader: "asyncio.StreamReader") -> Frame:
    """Return the next frame. Raises IncompleteReadError or ConnectionError when the other side is gone."""
    header, body = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    return await reader.readexactly(header), await reader.readexactly(body) if body else b""


class FrameReceiver:
    """Read frames from a blocking socket; a frame that has arrived never waits for the next one."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = bytearray()
        self._chunk = bytearray(_RECEIVE_BYTES)

    def waiting(self) -> list[Frame]:
        """Return the complete frames that have arrived, without waiting. Raises EOFError at the end."""
        self._receive(socket.MSG_DONTWAIT)
        return self._complete()

    def next(self) -> list[Frame]:
        """Wait for at least one complete frame. Raises EOFError when the other side is gone."""
        while not (frames := self._complete()):
            self._receive(0)
        return frames

    def _receive(self, flags: int) -> None:
        try:
            count = self._connection.recv_into(self._chunk, _RECEIVE_BYTES, flags)
            while count:
                self._received += memoryview(self._chunk)[:count]
                count = self._connection.recv_into(self._chunk, _RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        raise EOFError

    def _complete(self) -> list[Frame]:
        frames = []
        start = 0
        while len(self._received) - start >= _LENGTHS.size:
            header, body = _LENGTHS.unpack_from(self._received, start)
            middle = start + _LENGTHS.size + header
            end = middle + body
            if len(self._received) < end:
                break
            frames.append((bytes(self._received[start + _LENGTHS.size : middle]), bytes(self._received[middle:end])))
            start = end
        if start:
            del self._received[:start]
        return frames
