"""From bytes to records: decode the lines of a CSV, and split them into cells. Errors name the line.

Two readers find the same records in a file that follows RFC 4180. `strict_records` is fast. `lenient_records` also
takes white space around quoted fields.
"""

import csv
import re
from collections.abc import Iterator
from io import StringIO
from itertools import chain
from typing import BinaryIO

from catalog.content.cell_text import INVISIBLE, JOINERS, MAX_FIELD_CHARACTERS
from servicekit.errors import InvalidRequest

BLOCK_BYTES = 256 * 1024
MAX_LINE_BYTES = 1024 * 1024
HEAD_BYTES = 8
BOM = b"\xef\xbb\xbf"
# The longer ones first, because a shorter one begins like one of them.
OTHER_BOMS = {
    **dict.fromkeys((b"\xff\xfe\0\0", b"\0\0\xfe\xff"), "UTF-32"),
    **dict.fromkeys((b"\xff\xfe", b"\xfe\xff"), "UTF-16"),
}
# The beginning of a URL or a name in UTF-16 without a byte order mark.
UTF_16 = re.compile(rb"(?:[ -~]\0){4}|(?:\0[ -~]){4}")
SAVE_AS_UTF_8 = "Save the file as UTF-8 (in Excel: “CSV UTF-8”)"

LONGEST_WORD = 30
WORD, WORD_AT_END = re.compile(rb"[A-Za-z\x80-\xff]+"), re.compile(rb"[A-Za-z\x80-\xff]+\Z")

SINGLE_CR = "expected lines that end with LF or CRLF, found a CR without LF"
FIELD_TOO_LONG = f"expected at most {MAX_FIELD_CHARACTERS} characters in a field, found more or an unclosed quote"
UNCLOSED = "expected a closing quote, found the end of the file"
TEXT_AFTER_QUOTE = "expected a delimiter or the end of the line after a closing quote, found other text"
# Parts of the csv module's messages, and what we say instead.
CSV_ERRORS = {
    "field larger": FIELD_TOO_LONG,
    "new-line character": SINGLE_CR,
    "unexpected end": UNCLOSED,
    "expected after": TEXT_AFTER_QUOTE,
}

# The number of the line that a record begins in, from 1, and its cells.
Record = tuple[int, list[str]]


def invalid_csv(line: int, problem: str) -> InvalidRequest:
    """Return the error for a line of a CSV."""
    return InvalidRequest(f"Line {line}: {problem}.", code="invalid_csv")


def strict_records(file: BinaryIO, delimiter: str, skip: int) -> Iterator[Record]:
    """Yield the records of a file. skip: the number of lines before the first. Raises InvalidRequest (invalid_csv)."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(_lines(file, skip), delimiter=delimiter, strict=True, skipinitialspace=True)
    line = skip + 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + skip + 1
    except csv.Error as error:
        raise invalid_csv(line, _explain(str(error))) from None


def lenient_records(file: BinaryIO, delimiter: str, skip: int) -> Iterator[Record]:
    """Yield the same records as `strict_records`, and take white space around quoted fields."""
    record, line = _LenientRecord(delimiter), skip + 1
    for number, text in enumerate(_lines(file, skip), skip + 1):
        if not record.begun:
            line = number
        cells = record.add(line, text)
        if cells is not None:
            yield line, cells
    if record.begun:
        raise invalid_csv(line, UNCLOSED)


class _LenientRecord:
    """A record that is read line by line, because a quoted field can go over several lines."""

    def __init__(self, delimiter: str) -> None:
        # In Python 3.11.2, which Debian 12 has, a possessive group that fails in the middle stays where it failed. So
        # each alternative here is one character.
        space = rf"(?:[^\S{delimiter}\r\n]|[{INVISIBLE}{JOINERS}])*+"
        quote, inside, end = rf'{space}"', r'((?:[^"]++|"")*+)', rf"({delimiter}|(?:\r*+\n)?\Z)"
        self._plain = re.compile(rf"([^{delimiter}\r\n]*+){end}")
        self._quote = re.compile(quote)
        self._closed = re.compile(rf'{inside}"{space}{end}')
        self._continued = re.compile(rf"{inside}\Z")
        self._delimiter = delimiter
        self._cells: list[str] = []
        # The lines of a quoted field that is not closed yet, and their length.
        self._open: list[str] | None = None
        self._length = 0

    @property
    def begun(self) -> bool:
        """Whether lines were added that are not a whole record."""
        return self._open is not None

    def add(self, line: int, text: str) -> list[str] | None:
        """Add a line. Returns the cells when it completes the record. line: the one in which the record begins."""
        position = 0
        while True:
            if self._open is None and (quote := self._quote.match(text, position)):
                self._open, self._length, position = [], 0, quote.end()
            found = (self._plain if self._open is None else self._closed).match(text, position)
            if found is None:
                self._continue(line, text, position)
                return None
            self._append(line, found[1])
            position = found.end()
            if found[2] != self._delimiter:
                cells, self._cells = self._cells, []
                return cells

    def _append(self, line: int, text: str) -> None:
        if self._open is not None:
            text = "".join((*self._open, text)).replace('""', '"')
            self._open = None
        if len(text) > MAX_FIELD_CHARACTERS:
            raise invalid_csv(line, FIELD_TOO_LONG)
        self._cells.append(text)

    def _continue(self, line: int, text: str, position: int) -> None:
        if self._open is None:
            raise invalid_csv(line, SINGLE_CR)
        rest = self._continued.match(text, position)
        if rest is None:
            raise invalid_csv(line, TEXT_AFTER_QUOTE)
        self._open.append(rest[1])
        self._length += len(rest[1])
        # Every quote inside the field is written twice.
        if self._length > 2 * MAX_FIELD_CHARACTERS:
            raise invalid_csv(line, FIELD_TOO_LONG)


def _lines(file: BinaryIO, skip: int) -> Iterator[str]:
    """Return the lines of a file, with their ends, except for the first ones. Decodes blocks, which is faster."""
    lines = chain.from_iterable(StringIO(block, newline="\n") for block in _blocks(file))
    for _ in range(skip):
        next(lines, None)
    return lines


def _blocks(file: BinaryIO) -> Iterator[str]:
    """Yield the text of a file in blocks of whole lines."""
    number, rest = 1, b""
    first = file.read(HEAD_BYTES)
    encoding = next((name for bom, name in OTHER_BOMS.items() if first.startswith(bom)), None)
    if encoding is not None or UTF_16.match(first):
        raise invalid_csv(1, f"expected UTF-8, found {encoding or 'UTF-16'}. {SAVE_AS_UTF_8}")
    rest = first.removeprefix(BOM)
    while True:
        data = file.read(BLOCK_BYTES)
        block, end, rest = (rest + data).rpartition(b"\n") if data else (rest, b"", b"")
        block += end
        yield from _decoded(block, number)
        if not data:
            return
        number += block.count(b"\n")
        if len(rest) >= MAX_LINE_BYTES:
            raise invalid_csv(number, f"expected at most {MAX_LINE_BYTES} bytes in a line, found more")


def _decoded(block: bytes, number: int) -> Iterator[str]:
    """Yield the text of a block, at least up to the line with an error. number: of the first line of the block."""
    problem, position = None, len(block)
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        found = f"found the byte 0x{block[error.start]:02X}{_in_windows_1252(block, error.start)}"
        problem, position = f"expected UTF-8, {found}. {SAVE_AS_UTF_8}", error.start
    null = block.find(b"\0", 0, position)
    if null >= 0:
        problem, position = "expected text in UTF-8, found a NUL byte", null
    if problem is None and block.endswith(b"\r"):
        # At the end of a file, the csv module would accept it as the end of a line.
        problem, position = SINGLE_CR, position - 1
    if problem is None:
        yield text
        return
    start = block.rfind(b"\n", 0, position) + 1
    yield block[:start].decode()
    raise invalid_csv(number + block.count(b"\n", 0, start), problem)


def _in_windows_1252(block: bytes, position: int) -> str:
    """Return the word around a byte as it reads in Windows-1252, in brackets; nothing if it is no text in that."""
    word = WORD_AT_END.search(block, max(0, position - LONGEST_WORD), position)
    start = position if word is None else word.start()
    end = WORD.match(block, position, position + LONGEST_WORD)
    text = block[start : position + 1 if end is None else end.end()].decode("cp1252", errors="replace")
    return f" (“{text}” in Windows-1252)" if text.isalpha() else ""


def _explain(error: str) -> str:
    found = (text for part, text in CSV_ERRORS.items() if part in error)
    return next(found, "expected fields that are quoted as in RFC 4180, found other quoting")
