"""Rows are appended to a CSV and cut out of it, and every other byte stays as it is."""

import csv
import json
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.content.csv_dialect import find_dialect
from gateway.content.csv_format import copy_rows
from gateway.images.commands import LocateRows, WriteRows
from gateway.images.row_lines import ranges_in_lines, texts_of
from gateway.images.row_ranges import ByteRange, WantedRow, line_end_size, remaining_blocks
from servicekit.errors import InvalidRequest

Row = tuple[str, str]

QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)


def parsed(folder: Path, data: bytes) -> list[Row]:
    """Return the rows of a CSV as an upload reads them."""
    source, target = folder / "parsed", folder / "parsed-rows"
    source.write_bytes(data)
    copy_rows(source, target, max_rows=1000)
    with target.open(encoding="utf-8", newline="") as file:
        return [(row[0], row[1]) for row in csv.reader(file)]


def appended(folder: Path, data: bytes, rows: list[Row]) -> bytes:
    head, new, target = folder / "head", folder / "new", folder / "target"
    head.write_bytes(data)
    with new.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    WriteRows(str(head), data[-1:].hex(), str(new), str(target)).run()
    return data + target.read_bytes()


def as_json(wanted: list[tuple[str, str, int]]) -> str:
    return json.dumps([vars(WantedRow(*row)) for row in wanted])


def cut(folder: Path, data: bytes, places: list[int]) -> bytes:
    """Cut out the rows in these places of the list of all rows."""
    rows = parsed(folder, data)
    occurrences = [Counter(url for url, _ in rows[: place + 1])[rows[place][0]] for place in range(len(rows))]
    source, wanted = folder / "source", folder / "wanted"
    source.write_bytes(data)
    wanted.write_text(as_json([(*rows[place], occurrences[place]) for place in places]), encoding="utf-8")
    found = LocateRows(str(source), str(wanted)).run()
    assert found.row_count == len(rows)
    ranges = [(start, end) for start, end in found.ranges]
    assert in_lines(folder, data, [WantedRow(*rows[place], occurrences[place]) for place in places]) in (ranges, None)
    return b"".join(remaining_blocks(source, ranges))


def in_lines(folder: Path, data: bytes, wanted: list[WantedRow]) -> list[ByteRange] | None:
    """Return where rows are if they are found by their lines, and the line end before the last line, if that is cut."""
    source = folder / "source"
    if not copy_rows(source, folder / "parsed-rows", max_rows=1000).row_lines:
        return None
    dialect = find_dialect(source)
    ends = list(accumulate(map(len, data.split(b"\n")), lambda end, size: end + 1 + size))
    spans = list(zip([0, *(end + 1 for end in ends)], [min(end + 1, len(data)) for end in ends], strict=False))
    lines = [((start, end), data[start:end]) for start, end in spans]
    texts = texts_of(wanted, dialect)
    totals = Counter(url for url, _ in parsed(folder, data))
    totals = Counter({url: totals[url] for url in {row.image_url for row in wanted}})
    found = ranges_in_lines([one for one in lines if any(text in one[1] for text in texts)], wanted, totals, dialect)
    if found and found[-1][1] == len(data) and not data.endswith(b"\n"):
        before = data[len(BOM) if data.startswith(BOM) else 0 : found[-1][0]]
        found[-1] = (found[-1][0] - line_end_size(before), len(data))
    return found


A, B, C = (f"https://a.example/{name}.jpg" for name in "abc")
IIIF = "https://a.example/1/full/512,/0/default.jpg"
BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("before", "row", "after"),
    [
        (b"", (A, "r"), f"{A},r\n"),
        (b"", (IIIF, "r"), f'"{IIIF}",r\n'),
        (BOM, (A, "r"), f"{A},r\n"),
        (f"{A};r\n".encode(), (B, "s"), f"{B};s\n"),
        (f"{A}\tr\r\n".encode(), (B, "s"), f"{B}\ts\r\n"),
        (f"{A};r".encode(), (B, "s"), f"\n{B};s"),
        (f"Bild;Link\r\n{A};r".encode(), (B, "s"), f"\r\n{B};s"),
        (f'"{A}","r"\r\n'.encode(), (B, "s"), f'"{B}","s"\r\n'),
        (f'"Bild";"Link"\n{A};r\n'.encode(), (B, "s"), f"{B};s\n"),
        (f'"{A}";r\n'.encode(), (B, "s"), f'"{B}";s\n'),
        (f'"{IIIF}",r\n{A},r\n'.encode(), (B, "s"), f"{B},s\n"),
        (b"sep=;\r\n", (B, "s"), f"{B};s\r\n"),
        (b"sep=;", (B, "s"), f"\n{B};s"),
        (b"Bild;Link\n", (B, "s"), f"{B};s\n"),
        (f'{A},"two\nlines"\r\n'.encode(), (B, "s"), f'{B},"s"\r\n'),
        (f"{A},r\n,\n\n".encode(), (B, 'say "s"'), f'{B},"say ""s"""\n'),
        # Of several line ends, the last one.
        (f"{A},r\n{B},r\r\n".encode(), (C, "s"), f"{C},s\r\n"),
        # No other delimiter may fit a new row.
        (f"{A},r\n".encode(), (f"{B};x", "s"), f'"{B};x",s\n'),
    ],
)
def test_a_row_is_appended_in_the_style_of_the_file(tmp_path: Path, before: bytes, row: Row, after: str) -> None:
    assert appended(tmp_path, before, [row]) == before + after.encode()


@pytest.mark.parametrize(
    ("data", "places", "left"),
    [
        (f"{A},r\n{B},s\n{C},t\n", [1], f"{A},r\n{C},t\n"),
        (f"{A},r\n{B},s\n{C},t\n", [0, 2], f"{B},s\n"),
        (f"{A},r\n{B},s\n{C},t\n", [0, 1, 2], ""),
        (f"{A},r\n{B},s\n{C},t", [1], f"{A},r\n{C},t"),
        (f"{A},r\r\n{B},s\r\n{C},t", [2], f"{A},r\r\n{B},s"),
        (f"{A},r\r\n{B},s\r\n{C},t", [1, 2], f"{A},r"),
        (f"{A},r\n{B},s", [0, 1], ""),
        (f"\ufeff{A},r\n{B},s\n", [0], f"\ufeff{B},s\n"),
        (f"\ufeff{A},r", [0], "\ufeff"),
        (f"Bild;Link\r\n{A};r\r\n", [0], "Bild;Link\r\n"),
        (f"sep=;\n{A};r", [0], "sep=;"),
        # A quoted field with line ends, and blank rows, which stay.
        (f'{A},r\n{B},"one\ntwo\r\nthree"\n{C},t\n', [1], f"{A},r\n{C},t\n"),
        (f"{A},r\n\n;;\n{B},s\n\n", [0], f"\n;;\n{B},s\n\n"),
        # White space around quoted fields.
        (f'{A} , "r"\n "{B}" , s\n', [0], f' "{B}" , s\n'),
        (f'{A},r\n "{B}" , "s"\n', [1], f"{A},r\n"),
        # Rows with equal URLs, and equal rows.
        (f"{A},r\n{A},s\n{A},r\n", [1], f"{A},r\n{A},r\n"),
        (f"{A},r\n{A},r \n{A}, r\n", [1], f"{A},r\n{A}, r\n"),
        (f"{A},r\n{A},r \n{A}, r\n", [0, 2], f"{A},r \n"),
    ],
)
def test_exactly_the_bytes_of_a_row_are_cut_out(tmp_path: Path, data: str, places: list[int], left: str) -> None:
    assert cut(tmp_path, data.encode(), places) == left.encode()


@pytest.mark.parametrize(
    ("data", "row_lines"),
    [
        (f"{A},r\n{B},s\n", True),
        (f"\ufeffsep=;\r\nBild;Link\r\n\r\n{A};r\r\n;;\r\n{B};s", True),
        (f'"{A}","r ""x"""\n', True),
        (f'{A},"r\ns"\n', False),
        (f'{A},r\n{B},"r\ns"\n{C},t\n', False),
        (f'{A},r\n{B},"r\r\ns"', False),
        (f'"Bild\n(URL)",Link\n{A},r\n', False),
        (f' "{A}" , "r\ns"\n', False),
        (f'{A},r"s\n{B},"t"\n', True),
        ("", True),
    ],
)
def test_it_is_known_whether_each_line_is_a_record(tmp_path: Path, data: str, *, row_lines: bool) -> None:
    source = tmp_path / "source"
    source.write_bytes(data.encode())
    assert copy_rows(source, tmp_path / "rows", max_rows=10).row_lines == row_lines


@pytest.mark.parametrize(
    ("data", "wanted", "found"),
    [
        # As in most files, and where a URL is the beginning of another, or is a repository URL, too.
        (f"{A},r\n{B},s\n", WantedRow(B, "s", 1), True),
        (f"{A}x,r\n{A},{B}\n{B},{A}\n", WantedRow(A, B, 1), True),
        (f'"{A}x","r"\n"{A}","s"\n"{B}","{A}"\n', WantedRow(A, "s", 1), True),
        (f"{A},r\n{B},x\n{A},s\n", WantedRow(A, "s", 2), True),
        # Another row has the URL with an invisible character, so that the rows cannot be counted by their bytes.
        (f"{A[:-1]}\u200b{A[-1]},r\n{A},r\n", WantedRow(A, "r", 1), False),
        (f"{A} ,r\n", WantedRow(A, "r", 1), False),
        # The content has another row than the one that is wanted.
        (f"{A},r\n", WantedRow(A, "s", 1), False),
    ],
)
def test_a_row_is_found_by_its_line_only_if_it_is_certain(
    tmp_path: Path, data: str, wanted: WantedRow, *, found: bool
) -> None:
    (tmp_path / "source").write_bytes(data.encode())
    assert (in_lines(tmp_path, data.encode(), [wanted]) is not None) == found


def test_rows_that_the_csv_does_not_have_are_refused(tmp_path: Path) -> None:
    source, wanted = tmp_path / "source", tmp_path / "wanted"
    for data in (f"{A},r\n", f"{A},r\n{B},s\n{B},t\n", f"{A},r\nftp://a.example/b.jpg,s\n"):
        source.write_text(data, encoding="utf-8")
        wanted.write_text(as_json([(A, "r", 1), (B, "s", 2)]), encoding="utf-8")
        with pytest.raises(InvalidRequest) as error:
            LocateRows(str(source), str(wanted)).run()
        assert error.value.code == "content_needs_upload"


def test_rows_that_decide_the_delimiter_stay(tmp_path: Path) -> None:
    """The second row alone would be a row of a CSV with commas."""
    data = f"{A};https://r.example/1\n{B},x;HD 1\n".encode()
    with pytest.raises(InvalidRequest) as error:
        cut(tmp_path, data, [0])
    assert error.value.code == "ambiguous_delimiter"
    assert cut(tmp_path, data, [1]) == f"{A};https://r.example/1\n".encode()


@dataclass(frozen=True)
class Csv:
    """A CSV. lines: what it consists of; rows: the places of the rows among them."""

    lines: list[str]
    rows: list[int]
    data: bytes


TEXT = st.text('abü ,;\t"\n:0', max_size=12).map(str.strip)
URLS = st.one_of(st.sampled_from([A, B, C, IIIF]), TEXT.map(lambda text: f"https://a.example/{text.split()[:1]}"))
ENTRIES = st.one_of(st.sampled_from(["", "https://r.example/1", "HD 7", 'two\nlines "quoted"']), TEXT)


@st.composite
def csvs(draw: st.DrawFn) -> Csv:
    """Make a CSV in which each row is written in its own way."""
    delimiter, end = draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n"]))
    lines = draw(st.sampled_from([[], [f"sep={delimiter}"], [f"Bild{delimiter}Link"]]))[:]
    places = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["row", "row", "row", "blank", "delimiters"]))
        if kind == "row":
            cells = [draw(URLS), draw(ENTRIES)]
            pad = draw(st.sampled_from(["", "", " "]))
            quoted = [draw(st.booleans()) or not {*',;\t"\r\n'}.isdisjoint(cell) for cell in cells]
            written = [
                '"' + cell.replace('"', '""') + '"' if q else cell for cell, q in zip(cells, quoted, strict=True)
            ]
            places.append(len(lines))
            lines.append(delimiter.join(f"{pad}{cell}{pad}" for cell in written))
        else:
            lines.append("" if kind == "blank" else delimiter)
    ended = draw(st.booleans())
    text = end.join(lines) + (end if lines and ended else "")
    bom = draw(st.sampled_from(["", "\ufeff"]))
    whole = [f"{line}{end}" for line in lines[:-1]] + ([text[len(end.join([*lines[:-1], ""])) :]] if lines else [])
    return Csv([bom, *whole], [place + 1 for place in places], (bom + text).encode())


def readable(folder: Path, given_csv: Csv) -> list[Row]:
    """Return the rows of a CSV. Discard those that an upload refuses or reads with another delimiter."""
    try:
        rows = parsed(folder, given_csv.data)
    except InvalidRequest:
        rows = []
    assume(len(rows) == len(given_csv.rows))
    return rows


@QUICK
@given(csvs(), st.lists(st.tuples(URLS, ENTRIES), min_size=1, max_size=3))
def test_appending_rows_and_cutting_them_out_again_changes_no_byte(
    tmp_path: Path, given_csv: Csv, new: list[Row]
) -> None:
    rows = readable(tmp_path, given_csv)
    longer = appended(tmp_path, given_csv.data, new)
    assert longer.startswith(given_csv.data)
    assert parsed(tmp_path, longer) == rows + new
    assert cut(tmp_path, longer, list(range(len(rows), len(rows) + len(new)))) == given_csv.data


@QUICK
@given(csvs(), st.data())
def test_cutting_rows_out_leaves_all_other_lines(tmp_path: Path, given_csv: Csv, data: st.DataObject) -> None:
    rows = readable(tmp_path, given_csv)
    assume(rows)
    places = sorted(data.draw(st.sets(st.sampled_from(range(len(rows))), min_size=1)))
    try:
        left = cut(tmp_path, given_csv.data, places)
    except InvalidRequest as error:
        assert error.code == "ambiguous_delimiter"  # noqa: PT017 - either outcome is correct
        return
    gone = {given_csv.rows[place] for place in places}
    expected = "".join(line for number, line in enumerate(given_csv.lines) if number not in gone).encode()
    # Without a line end at its end, the file has none afterwards either.
    assert left in (expected, expected.removesuffix(b"\n").removesuffix(b"\r"))
    assert left == expected or (max(gone) == len(given_csv.lines) - 1 and not given_csv.data.endswith(b"\n"))
    if len(places) < len(rows):
        assert parsed(tmp_path, left) == [row for place, row in enumerate(rows) if place not in places]
