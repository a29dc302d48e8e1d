"""What the serving process and a worker say to each other, in frames.

A message is the header of its frame, as JSON; images and vectors are the body.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

Role = Literal["fused", "decoder", "engine"]


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


def header(message: Message) -> bytes:
    """Return a message as the header of a frame."""
    return json.dumps(asdict(message), separators=(",", ":")).encode()
