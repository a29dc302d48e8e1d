"""The directories of a TIFF (TIFF 6.0, BigTIFF), each of which describes one image, and which one is the main image."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

PREFIXES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NEW_SUBFILE_TYPE, OLD_SUBFILE_TYPE, INTERPRETATION, SUB_DIRECTORIES = 254, 255, 262, 330
# NewSubfileType: a smaller version of another image, or its transparency mask. SubfileType: the first of these.
REDUCED, MASK, OLD_REDUCED = 1, 4, 2
# What the sensor of a camera saw. Nothing here makes a picture of that, so the preview beside it is better.
SENSOR_DATA = frozenset({32803, 34892})
# No file that people make has more images before its main one.
MAX_DIRECTORIES = 32
MAX_ENTRIES = 1 << 16
# Bytes of a value, by its type: BYTE to IFD8. Only unsigned integers are read.
INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


class Entry(NamedTuple):
    """The value of a tag. place: where its bytes are in the file. letter: its type for `struct`, empty if not read."""

    letter: str
    length: int
    place: int


@dataclass(frozen=True)
class Directory:
    """One directory. start: where it is in the file. following: where the next one is; 0 after the last."""

    start: int
    entries: dict[int, Entry]
    following: int


class TiffDirectories:
    """Reads the directories of one file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data.startswith(b"II") else ">"
        self._is_big = data[2:4] in (b"+\0", b"\0+")
        self._place, letter = (8, "Q") if self._is_big else (4, "I")
        self._offset = struct.Struct(self._order + letter)
        self._count = struct.Struct(self._order + ("Q" if self._is_big else "H"))
        self._entry = struct.Struct(self._order + ("HHQ" if self._is_big else "HHI"))

    def first(self) -> Directory | None:
        """Return the first directory; None if it cannot be read."""
        try:
            return self._read(self._offset.unpack_from(self._data, self._place)[0])
        except struct.error:
            return None

    def numbers(self, directory: Directory, tag: int, most: int = 1) -> tuple[int, ...]:
        """Return the first values of a tag of integers; none if the directory lacks it."""
        entry = directory.entries.get(tag)
        if entry is None or not entry.letter:
            return ()
        values = struct.Struct(f"{self._order}{min(entry.length, most)}{entry.letter}")
        place = entry.place
        if entry.length * struct.calcsize("=" + entry.letter) > self._offset.size:
            (place,) = self._offset.unpack_from(self._data, entry.place)
        try:
            return values.unpack_from(self._data, place)
        except struct.error:
            return ()

    def with_first(self, directory: Directory) -> bytes:
        """Return the file with this directory as its first."""
        start = self._offset.pack(directory.start)
        return self._data[: self._place] + start + self._data[self._place + len(start) :]

    def after(self, directory: Directory) -> Iterator[Directory]:
        """Yield the directories that the first one contains, then those that follow it, each with what it contains."""
        seen: set[int] = set()
        current: Directory | None = directory
        while current is not None and len(seen) < MAX_DIRECTORIES:
            starts = (*self.numbers(current, SUB_DIRECTORIES, MAX_DIRECTORIES), current.following)
            for start in starts:
                if start in seen or len(seen) >= MAX_DIRECTORIES:
                    return
                seen.add(start)
                found = self._read(start) if start else None
                if found is not None:
                    yield found
            current = found

    def _read(self, start: int) -> Directory | None:
        try:
            (count,) = self._count.unpack_from(self._data, start)
        except (struct.error, OverflowError):
            return None
        first, size = start + self._count.size, self._entry.size + self._offset.size
        places = range(first, len(self._data) - size + 1, size)[: min(count, MAX_ENTRIES)]
        entries = {}
        for place in places:
            tag, kind, values = self._entry.unpack_from(self._data, place)
            entries[tag] = Entry(INTEGER_TYPES.get(kind, ""), values, place + self._entry.size)
        end = first + size * len(places)
        following = self._data[end : end + self._offset.size]
        return Directory(start, entries, int.from_bytes(following, "little" if self._order == "<" else "big"))


def is_tiff(data: bytes) -> bool:
    """Return whether a file says that it is a TIFF."""
    return data.startswith(PREFIXES)


def with_main_image_first(data: bytes) -> bytes:
    """Return a TIFF whose first directory is the first one that is neither a smaller version of another nor a mask.

    The same bytes if it is the first already, or if there is none, or for another file.
    """
    if not is_tiff(data):
        return data
    directories = TiffDirectories(data)
    first = directories.first()
    if first is None or not _is_secondary(directories, first):
        return data
    for found in directories.after(first):
        if not _is_secondary(directories, found) and INTERPRETATION in found.entries:
            is_picture = SENSOR_DATA.isdisjoint(directories.numbers(found, INTERPRETATION))
            return directories.with_first(found) if is_picture else data
    return data


def _is_secondary(directories: TiffDirectories, directory: Directory) -> bool:
    (kind,) = directories.numbers(directory, NEW_SUBFILE_TYPE) or (0,)
    return bool(kind & (REDUCED | MASK)) or directories.numbers(directory, OLD_SUBFILE_TYPE) == (OLD_REDUCED,)
