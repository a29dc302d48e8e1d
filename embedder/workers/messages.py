"""The messages between the embedder and a worker. Each is a frame: a JSON header, and images or vectors as the body."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from servicekit.image_region import Region

FLOAT_BYTES = 4

Role = Literal["fused", "decoder", "engine", "text"]


@dataclass(frozen=True)
class WorkerOrders:
    """The first message to a worker: its configuration.

    role: "fused" decodes and infers, "decoder" decodes into slots of the arena, "engine" infers batches of slots,
    "text" embeds texts. model, canary: the files of the converted model, or "". threads: of a forward pass;
    all_threads: of one that may use all cores. max_pixels, memory_bytes: limits of decoding. niceness: as for `nice`.
    """

    role: Role
    source: dict[str, object]
    model: str
    canary: str
    threads: int
    all_threads: int
    max_pixels: int
    memory_bytes: int
    engine: str
    device: str
    max_batch: int
    search_seconds: float = 2.0
    bulk_seconds: float = 10.0
    niceness: int = 0


@dataclass(frozen=True)
class WorkerReady:
    """The first message of a worker: it has embedded the canary, or else `failure` says why it cannot work."""

    device: str = ""
    engine: str = ""
    failure: str = ""


@dataclass(frozen=True)
class WorkRequest:
    """One image for a fused worker or a decoder, one batch for an engine, or one text, in UTF-8 as the `image`.

    slots: of the arena, for a decoder to fill or for an engine to infer. canary: embed the worker's own canary, `image`
    is empty. urgent: go ahead of requests that are not. all_cores: use all cores for it. suspect: the image may have
    ended another worker. region: the part of the image to embed; None: all of it. whole: embed the image itself, not
    only its views. miniature: return one, too.
    """

    id: int
    image: bytes = field(default=b"", repr=False)
    slots: list[int] = field(default_factory=list)
    views: int = 0
    seed: int = 0
    canary: bool = False
    urgent: bool = False
    all_cores: bool = False
    suspect: bool = False
    region: Region | None = None
    whole: bool = True
    miniature: bool = False

    @property
    def inputs(self) -> int:
        """How many images and views it asks for."""
        return max(self.views + self.whole, len(self.slots))


@dataclass(frozen=True)
class WorkResult:
    """The answer to a request.

    vectors: of the image and its views, one after the other (float32, little-endian), or of the text; empty from a
    decoder, or if there is an error `code`. warnings: codes of what was wrong with an image or a text that was embedded
    anyway. read_characters: how many characters of a text count. batch_size: inputs in the forward pass.
    memory_bytes: memory of the worker. miniature: its grey values, row by row; empty if the request asks for none.
    miniature_width: 0 without one.
    """

    id: int
    vectors: bytes = field(default=b"", repr=False)
    miniature: bytes = field(default=b"", repr=False)
    miniature_width: int = 0
    code: str | None = None
    message: str = ""
    warnings: list[str] = field(default_factory=list)
    read_characters: int = 0
    decode_seconds: float = 0.0
    copy_seconds: float = 0.0
    forward_seconds: float = 0.0
    batch_size: int = 0
    memory_bytes: int = 0


def to_header(message: WorkerOrders | WorkerReady | WorkRequest | WorkResult) -> bytes:
    """Return a message as the header of a frame, without the bytes that are the body."""
    fields = {name: value for name, value in vars(message).items() if not isinstance(value, bytes)}
    if isinstance(message, WorkResult):
        fields["miniature_bytes"] = len(message.miniature)
    return json.dumps(fields, separators=(",", ":")).encode()


def to_body(result: WorkResult) -> bytes:
    """Return the body of the frame of a result: the vectors, and the miniature."""
    return result.vectors + result.miniature


def to_request(header: bytes, body: bytes) -> WorkRequest:
    """Return the request in a frame."""
    fields: dict[str, Any] = json.loads(header)
    region = fields.pop("region")
    return WorkRequest(image=body, region=None if region is None else Region(*region), **fields)


def to_result(header: bytes, body: bytes) -> WorkResult:
    """Return the result in a frame."""
    fields: dict[str, Any] = json.loads(header)
    end = len(body) - fields.pop("miniature_bytes")
    return WorkResult(vectors=body[:end], miniature=body[end:], **fields)
