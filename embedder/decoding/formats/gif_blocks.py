"""What precedes the pixels of a GIF (GIF89a specification): blocks of metadata, and the place of the first frame."""

import re
import struct
from dataclasses import dataclass

from PIL import Image

PREFIXES = (b"GIF87a", b"GIF89a")
EXTENSION, FRAME = b"!", b","
# Pillow skips bytes that begin none of these.
BLOCK = re.compile(rb"[!,;]")
HEADER_BYTES, COLOUR_BYTES = 13, 3
# Blocks before the pixels. Metadata of 12 MB has as many.
MAX_BLOCKS = 50_000
_FRAME = struct.Struct("<HHHH")


@dataclass(frozen=True)
class GifStart:
    """The number of blocks before the first frame, and where that frame is: left, top, right and bottom.

    blocks: one more than are allowed if there are too many. frame: None if there is none.
    """

    blocks: int
    frame: tuple[int, int, int, int] | None


def is_gif(data: bytes) -> bool:
    """Return whether a file says that it is a GIF."""
    return data.startswith(PREFIXES)


def gif_start(data: bytes, most: int = MAX_BLOCKS) -> GifStart:
    """Return what precedes the pixels of a GIF. It stops after one block more than `most`."""
    flags = data[10] if len(data) > HEADER_BYTES else 0
    position = HEADER_BYTES + (COLOUR_BYTES << ((flags & 7) + 1) if flags & 0x80 else 0)
    blocks = 0
    while blocks <= most and (block := BLOCK.search(data, position)) is not None:
        position = block.end()
        if block[0] != EXTENSION:
            return GifStart(blocks, _frame(data, position) if block[0] == FRAME else None)
        # The label of the extension, and its blocks, each after its length. The last one has none.
        position += 1
        while position < len(data) and blocks <= most:
            blocks += 1
            length = data[position]
            position += 1 + length
            if not length:
                break
    return GifStart(blocks, None)


def _frame(data: bytes, position: int) -> tuple[int, int, int, int] | None:
    if position + _FRAME.size > len(data):
        return None
    left, top, width, height = _FRAME.unpack_from(data, position)
    return left, top, left + width, top + height


def with_clear_margin(image: Image.Image, data: bytes) -> Image.Image:
    """Return the first frame of a GIF, loaded, on a transparent canvas if it does not cover all of it.

    Pillow fills what the frame leaves out with the first colour.
    """
    frame = gif_start(data).frame
    if frame is None or (frame[:2] == (0, 0) and frame[2] >= image.width and frame[3] >= image.height):
        return image
    canvas = Image.new("RGBA", image.size, (0, 0, 0, 0))
    canvas.paste(image.crop(frame).convert("RGBA"), frame[:2])
    return canvas
