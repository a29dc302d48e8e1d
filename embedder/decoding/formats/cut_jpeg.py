"""JPEG files whose end is missing (ITU-T T.81): complete them, and estimate how much of them is missing."""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

START, SCAN, END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"
# Sequential and progressive frames, in Huffman and in arithmetic coding.
FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
COEFFICIENTS = 64
# A marker ends the data of a scan. Escaped bytes, restart markers and fill bytes do not.
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Files that were written as zeros first end like this where the download stopped.
PADDING = bytes(64)
# Data that no encoder would write here: it changes the first block that is missing, and none if nothing is missing.
NOISE = bytes((number * 151 + 43) % 255 for number in range(1024))


@dataclass(frozen=True)
class _Scan:
    """One scan. start, end: of its data in the file. components: their ids.

    first, last: the coefficients that it has (T.81, G.1.1.1). low_bit: the lowest bit of them that it has.
    """

    start: int
    end: int
    components: frozenset[int]
    first: int
    last: int
    low_bit: int

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class _Frame:
    """The frame of a JPEG. components: their ids. height: in pixels. block_height: of its largest blocks, in pixels."""

    components: frozenset[int]
    height: int
    block_height: int


def lacks_end(data: bytes) -> bool:
    """Return whether a JPEG ends in a scan. Pillow decodes some of these files without an error."""
    return data.startswith(START) and data.rfind(END) < data.rfind(SCAN)


def is_padded(data: bytes) -> bool:
    """Return whether a JPEG ends in zeros in place of its last part."""
    return data.startswith(START) and data.endswith(PADDING) and not data.rstrip(b"\0").endswith(END)


@dataclass(frozen=True)
class CompletedJpeg:
    """A JPEG with an end. missing: an estimate of the share of its bytes that it lacks, 0 to 1."""

    data: bytes
    missing: float


def completed(data: bytes, decode: Callable[[bytes], Image.Image]) -> CompletedJpeg | None:
    """Return a JPEG with an end; None if no pixel can be decoded, or if nothing tells how much is missing.

    decode: decodes a JPEG, at any scale. Raises what it raises.
    """
    body = data.rstrip(b"\0")
    # A zero after this byte is a part of the data.
    body += b"\0" if body.endswith(b"\xff") else b""
    frame, scans = _parsed(body)
    if frame is None or not scans:
        return None
    body = body[: scans[-1].end]
    whole = body + END
    missing = _missing_bytes(frame, scans, _coverage(decode(whole), decode(body + NOISE + END), frame))
    return None if missing is None else CompletedJpeg(whole, missing / (len(body) + missing))


def _parsed(data: bytes) -> tuple[_Frame | None, list[_Scan]]:
    """Return the frame and the scans that have begun."""
    frame: _Frame | None = None
    scans: list[_Scan] = []
    for marker, start, end in _segments(data):
        segment = data[start:end]
        if marker in FRAMES and len(segment) >= 6:
            frame = _frame(segment)
        elif marker == START_OF_SCAN and frame is not None and len(segment) >= 4:
            scans.append(_scan(data, segment, end))
    return frame, scans


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each complete marker segment: the marker's second byte, and where its parameters begin and end."""
    position = 2
    while (found := MARKER.search(data, position)) is not None:
        marker, start = data[found.end() - 1], found.end() + 2
        if marker == END_OF_IMAGE or start > len(data):
            return
        end = found.end() + struct.unpack_from(">H", data, found.end())[0]
        if end < start or end > len(data):
            return
        yield marker, start, end
        position = end


def _frame(segment: bytes) -> _Frame:
    height, _, count = struct.unpack_from(">HHB", segment, 1)
    # Of each component: its id, its sampling factors (the vertical one in the lower bits), its table.
    parameters = segment[6 : 6 + 3 * count]
    factor = max((factors & 15 for factors in parameters[1::3]), default=1)
    return _Frame(frozenset(parameters[::3]), height, 8 * factor)


def _scan(data: bytes, segment: bytes, start: int) -> _Scan:
    following = MARKER.search(data, start)
    end = len(data) if following is None else following.start()
    components = frozenset(segment[1 : 1 + 2 * segment[0] : 2])
    first, last, bits = segment[-3:]
    return _Scan(start, end, components, first, min(last, COEFFICIENTS - 1), bits & 15)


def _coverage(whole: Image.Image, probe: Image.Image, frame: _Frame) -> float:
    """Return how far the last scan comes, 0 to 1, in the order of its blocks.

    probe: the same image with noise after its data.
    """
    differs = (np.atleast_3d(np.asarray(whole)) != np.atleast_3d(np.asarray(probe))).any(axis=2)
    rows = np.flatnonzero(differs.any(axis=1))
    if not rows.size:
        return 1.0
    height, width = differs.shape
    block_height = max(1, round(frame.block_height * height / max(frame.height, 1)))
    # Colours of a block reach one pixel into the block above.
    block = min((int(rows[0]) + 1) // block_height, (height - 1) // block_height)
    columns = np.flatnonzero(differs[block * block_height : (block + 1) * block_height].any(axis=0))
    left = int(columns[0]) / width if columns.size else 0.0
    return float(min(1.0, (block + left) * block_height / height))


def _missing_bytes(frame: _Frame, scans: list[_Scan], coverage: float) -> float | None:
    """Estimate the missing bytes, from how far the last scan comes and how large earlier scans are.

    Returns None if whole scans are missing whose size nothing tells.
    """
    if coverage == 0:
        return None
    sizes = {scan: scan.size for scan in scans} | {scans[-1]: scans[-1].size / coverage}
    missing = sizes[scans[-1]] - scans[-1].size
    for component in frame.components:
        own = [scan for scan in scans if component in scan.components]
        low_bits = [_low_bit(own, place) for place in range(COEFFICIENTS)]
        if None in low_bits:
            return None
        # Each pass refines the coefficients by one bit, and takes about as much as the one before.
        last = [scan for scan in own if scan.last > 0][-1]
        missing += max(bit or 0 for bit in low_bits[1:]) * sizes[last]
    return missing


def _low_bit(scans: list[_Scan], coefficient: int) -> int | None:
    """Return the lowest bit of a coefficient that any of the scans has; None if none has any."""
    return min((scan.low_bit for scan in scans if scan.first <= coefficient <= scan.last), default=None)
