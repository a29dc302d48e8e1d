"""What is fuzzed: each target takes any bytes, and raises only what is a defect."""

import contextlib
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.image_error import ImageError
from embedder.decoding.inputs import prepare_inputs
from gateway.content.csv_format import copy_rows
from gateway.http.base64_body import EACH, Base64Body, Base64Fields
from servicekit.errors import ServiceError

SEEDS = Path(__file__).parent / "seeds"
# Larger images are allowed, but tell nothing more and take longer.
MAX_PIXELS = 1_000_000
MAX_ROWS = 1000
IMAGE_PATHS = (("image",), ("examples", EACH, "image"))

Found = tuple[object, list[bytes], str]


def image(data: bytes) -> None:
    """Decode an image and make a view of it."""
    with contextlib.suppress(ImageError):
        prepare_inputs(_decoder(), data, views=1, seed=1)


def csv(data: bytes) -> None:
    """Read a CSV as the content of a collection."""
    source, target = _files()
    source.write_bytes(data)
    with contextlib.suppress(ServiceError):
        copy_rows(source, target, max_rows=MAX_ROWS)


def json(data: bytes) -> None:
    """Read the JSON body of a search: as a whole and in pieces, which must not matter."""
    whole = _fields(data, len(data) or 1)
    size = 1 + (data[-1] % 40 if data else 0)
    found = _fields(data, size)
    assert found == whole, (size, whole, found)


def data_url(data: bytes) -> None:
    """Read a body that is base64 or a data URL: as a whole and in pieces, which must not matter."""
    whole = _text(data, len(data) or 1)
    size = 1 + (data[-1] % 40 if data else 0)
    found = _text(data, size)
    assert found == whole, (size, whole, found)


TARGETS: dict[str, Callable[[bytes], None]] = {"image": image, "csv": csv, "json": json, "data_url": data_url}


@cache
def _decoder() -> Decoder:
    return Decoder(prepare_pillow(), MAX_PIXELS, PREPROCESSING)


@cache
def _files() -> tuple[Path, Path]:
    folder = Path(tempfile.mkdtemp(prefix="similis-fuzz-"))
    return folder / "source", folder / "target"


def _fields(data: bytes, size: int) -> Found:
    """Return the fields, the images and the code of the error of a body that arrives in pieces."""
    images: list[list[bytes]] = []

    def begin() -> Callable[[bytes], None]:
        images.append([])
        return images[-1].append

    fields = Base64Fields(begin, IMAGE_PATHS)
    try:
        for start in range(0, len(data), size):
            fields.feed(data[start : start + size])
        return fields.finish(), [b"".join(pieces) for pieces in images], ""
    except ServiceError as error:
        return None, [], error.code


def _text(data: bytes, size: int) -> Found:
    written: list[bytes] = []
    body = Base64Body(written.append)
    try:
        for start in range(0, len(data), size):
            body.feed(data[start : start + size])
        body.finish()
    except ServiceError as error:
        return None, [], error.code
    return None, [b"".join(written)], ""
