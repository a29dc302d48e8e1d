"""What the serving process and a worker say to each other, over a socket pair.

A frame is the length of a JSON header and of a body (unsigned 32 bits each, little-endian), then the two.
"""

import json
import socket
import struct
from dataclasses import asdict, dataclass, field
from typing import Literal

Role = Literal["fused", "decoder", "engine"]

LENGTHS = struct.Struct("<II")
RECEIVE_BYTES = 1 << 20


@dataclass(frozen=True)
class Job:
    """One image to embed; its encoded bytes are the frame's body. `canary`: the worker's own image, no body.

    `slots` of the arena: those that a decoder fills, or the batch that an engine reads (which has no body).
    """

    id: int
    urgent: bool = False
    wide: bool = False
    views: int = 0
    seed: int = 0
    canary: bool = False
    slots: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """What became of a job. The body has 1 + views vectors of float32, or nothing when there is a `code`."""

    id: int
    code: str | None = None
    message: str = ""
    decode_seconds: float = 0.0
    copy_seconds: float = 0.0
    forward_seconds: float = 0.0
    batch: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Ready:
    """The first frame of a worker: it has embedded the canary. `failure`: it cannot, and why."""

    device: str = ""
    engine: str = ""
    failure: str = ""


@dataclass(frozen=True)
class WorkerOrders:
    """The first frame to a worker: what it is to be.

    "fused" decodes and infers, "decoder" fills slots of the arena, "engine" infers batches of slots. niceness: how far
    it steps back for other processes, as `nice` has it.
    """

    role: Role
    source: dict[str, object]
    model: str
    canary: str
    threads: int
    wide_threads: int
    max_pixels: int
    memory_bytes: int
    engine: str
    device: str
    max_batch: int
    niceness: int = 0


Message = Job | Result | Ready | WorkerOrders


def encode(message: Message, body_length: int = 0) -> bytes:
    """A frame without its body."""
    header = json.dumps(asdict(message), separators=(",", ":")).encode()
    return LENGTHS.pack(len(header), body_length) + header


class FrameReceiver:
    """Reads frames from a blocking socket; never waits for the rest of one while another one is there."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = bytearray()
        self._chunk = bytearray(RECEIVE_BYTES)

    def waiting(self) -> list[tuple[bytes, bytes]]:
        """Whole frames that have arrived: header and body. Does not wait. Raises EOFError at the end."""
        self._receive(socket.MSG_DONTWAIT)
        return self._whole()

    def next(self) -> list[tuple[bytes, bytes]]:
        """Waits for at least one whole frame. Raises EOFError when the other side is gone."""
        while not (frames := self._whole()):
            self._receive(0)
        return frames

    def _receive(self, flags: int) -> None:
        try:
            count = self._connection.recv_into(self._chunk, RECEIVE_BYTES, flags)
            while count:
                self._received += memoryview(self._chunk)[:count]
                count = self._connection.recv_into(self._chunk, RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        raise EOFError

    def _whole(self) -> list[tuple[bytes, bytes]]:
        frames = []
        start = 0
        while len(self._received) - start >= LENGTHS.size:
            header, body = LENGTHS.unpack_from(self._received, start)
            middle = start + LENGTHS.size + header
            end = middle + body
            if len(self._received) < end:
                break
            frames.append((bytes(self._received[start + LENGTHS.size : middle]), bytes(self._received[middle:end])))
            start = end
        if start:
            del self._received[:start]
        return frames
