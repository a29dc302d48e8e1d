"""Both readers find the same records, and bytes that are no text are refused with their line."""

import csv
import io
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.content.csv_records import BLOCK_BYTES, Record, lenient_records, strict_records
from servicekit.errors import InvalidRequest


def read_strictly(data: bytes, delimiter: str = ",") -> list[Record]:
    return list(strict_records(io.BytesIO(data), delimiter, 0))


def read_leniently(data: bytes, delimiter: str = ",") -> list[Record]:
    return list(lenient_records(io.BytesIO(data), delimiter, 0))


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
# Characters that matter to the syntax.
syntax = st.text('",; a\r\n', max_size=40)


def stripped(records: list[Record]) -> list[Record]:
    """Return the records without white space at the ends of cells, and without blank ones."""
    found = [(line, [cell.strip() for cell in cells]) for line, cells in records]
    return [(line, cells) for line, cells in found if any(cells)]


@settings(max_examples=300)
@given(st.lists(st.lists(cells, min_size=2, max_size=3), max_size=5), st.sampled_from(",;\t"), st.booleans())
def test_both_readers_find_the_fields_that_were_written(
    rows: list[list[str]], delimiter: str, all_quoted: bool
) -> None:
    output = io.StringIO()
    dialect = csv.unix_dialect if all_quoted else csv.excel
    csv.writer(output, dialect, delimiter=delimiter).writerows(rows)
    data = output.getvalue().encode()
    found = read_strictly(data, delimiter)
    assert stripped(read_leniently(data, delimiter)) == stripped(found)
    if all_quoted:
        assert [cells for _, cells in found] == rows


@settings(max_examples=500)
@given(syntax)
def test_the_lenient_reader_finds_what_the_strict_one_finds(text: str) -> None:
    try:
        found = read_strictly(text.encode())
    except InvalidRequest:
        return
    assert stripped(read_leniently(text.encode())) == stripped(found)


@pytest.mark.parametrize("read", [read_strictly, read_leniently])
@pytest.mark.parametrize(
    ("problem", "found"), [(b"\xff", "the byte 0xFF"), (b"a\0b", "a NUL byte"), (b"\xed\xa0\x80", "the byte 0xED")]
)
@pytest.mark.parametrize("before", [0, 1, 20_000])
def test_an_error_in_a_later_block_names_its_line(read: object, problem: bytes, found: str, before: int) -> None:
    lines = b"https://example.org/1,x\r\n" * before
    assert (len(lines) > BLOCK_BYTES) == (before > 1000)
    assert callable(read)
    with pytest.raises(InvalidRequest) as error:
        read(lines + b"a," + problem + b"\n" + lines)
    assert error.value.message.startswith(f"Line {before + 1}: expected ")
    assert f"found {found}" in error.value.message


def test_the_first_error_is_reported() -> None:
    for data in (b'a,"b"c\nd,\xff\n', b'a,"b"c\nd,\0\n'):
        with pytest.raises(InvalidRequest, match=r"^Line 1: expected a delimiter"):
            read_strictly(data)


@pytest.mark.parametrize("read", [read_strictly, read_leniently])
def test_records_are_whole_across_blocks(read: object) -> None:
    assert callable(read)
    row = "ü" * 997
    data = "".join(f'{row},"x\n{number}"\r\n' for number in range(400)).encode()
    assert len(data) > 3 * BLOCK_BYTES
    assert read(data) == [(2 * number + 1, [row, f"x\n{number}"]) for number in range(400)]


def test_a_field_of_many_lines_is_read_quickly() -> None:
    value = '""\n' * 30_000
    started = time.process_time()
    assert read_leniently(f'"{value}" ,x\n'.encode()) == [(1, [value.replace('""', '"'), "x"])]
    with pytest.raises(InvalidRequest, match="at most 65536 characters"):
        read_leniently(b'"' + b"\n" * 1_000_000)
    assert time.process_time() - started < 2
