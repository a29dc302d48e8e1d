"""Which CSVs are accepted, which rows they have, and how errors in the others are reported."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.content.csv_format import MAX_FIELD_CHARACTERS, copy_rows, find_delimiter
from servicekit.errors import InvalidRequest, TooLarge

IIIF = "https://iiif.example.org/1/full/512,/0/default.jpg"
REPO = "https://repo.example.org/detail/1"


def parsed(tmp_path: Path, data: bytes, max_rows: int = 1000) -> list[list[str]]:
    """Return the rows that Postgres would receive."""
    source, target = tmp_path / "csv", tmp_path / "rows"
    source.write_bytes(data)
    summary = copy_rows(source, target, max_rows=max_rows)
    with target.open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    assert len(found) == summary.row_count
    return found


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("header", [[], ["image_url", "repo_url"], ["Bild-Adresse", "Münze (Link)"]])
@pytest.mark.parametrize("last", [True, False])
def test_every_allowed_form_has_the_same_rows(
    tmp_path: Path, delimiter: str, end: str, bom: bytes, header: list[str], last: bool
) -> None:
    rows = [[IIIF, REPO], [IIIF, REPO], ["http://a/ü.jpg", ""]]
    output = io.StringIO()
    csv.writer(output, delimiter=delimiter, lineterminator=end).writerows([header, *rows] if header else rows)
    data = bom + output.getvalue().encode()
    assert parsed(tmp_path, data if last else data.removesuffix(end.encode())) == rows


def test_commas_in_urls_are_not_mistaken_for_delimiters(tmp_path: Path) -> None:
    assert parsed(tmp_path, f"{IIIF};{REPO}\n".encode()) == [[IIIF, REPO]]
    assert parsed(tmp_path, f"image;link\n{IIIF};{REPO}\n".encode()) == [[IIIF, REPO]]


def test_semicolons_in_urls_are_not_mistaken_for_delimiters(tmp_path: Path) -> None:
    assert parsed(tmp_path, f"http://a/1;v=2.jpg,{REPO};x=1\n".encode()) == [["http://a/1;v=2.jpg", f"{REPO};x=1"]]


def test_quoted_fields_can_contain_quotes_delimiters_and_newlines(tmp_path: Path) -> None:
    data = f'"{IIIF}","a ""b"", c;\nd"\r\n{REPO},x\n'.encode()
    assert parsed(tmp_path, data) == [[IIIF, 'a "b", c;\nd'], [REPO, "x"]]


def test_empty_lines_are_skipped(tmp_path: Path) -> None:
    assert parsed(tmp_path, f"\n\r\n{IIIF};{REPO}\n\n  \n{IIIF};{REPO}\n\n".encode()) == [[IIIF, REPO]] * 2
    assert parsed(tmp_path, b"") == []
    assert parsed(tmp_path, b"\xef\xbb\xbf\r\n") == []


def test_spaces_around_a_field_are_stripped(tmp_path: Path) -> None:
    assert parsed(tmp_path, b"HTTP://a/b , http://c\n") == [["HTTP://a/b", "http://c"]]


ROW = f"{REPO},{REPO}\n"


@pytest.mark.parametrize(
    ("data", "line", "expected", "found"),
    [
        (ROW + "http://a\n", 2, "two columns", "1"),
        (ROW + "http://a,http://b,http://c\n", 2, "two columns", "3"),
        (ROW + "ftp://a/b,http://c\n", 2, "http(s) URL", "“ftp://a/b”"),
        (ROW + "/a.jpg,http://c\n", 2, "http(s) URL", "“/a.jpg”"),
        (ROW + ",http://c\n", 2, "http(s) URL", "empty field"),
        (ROW + "http://,http://c\n", 2, "http(s) URL", "“http://”"),
        (ROW + "http:///a.jpg,http://c\n", 2, "http(s) URL", "“http:///a.jpg”"),
        (ROW + "image,repo\n", 2, "http(s) URL", "“image”"),
        ("ftp://a/b.jpg,http://c\n" + ROW, 1, "http(s) URL", "“ftp://a/b.jpg”"),
        ("www.example.org/b.jpg,www.example.org/b\n" + ROW, 1, "http(s) URL", "“www.example.org/b.jpg”"),
        ("image,repo\n", 1, "below the header row", "none"),
        ("just text\n", 1, "two columns", "1"),
        ("no,urls\nat,all\n", 2, "http(s) URL", "“at”"),
        (",\n", 1, "http(s) URL", "empty field"),
        (ROW + '"http://a"b,c\n', 2, "delimiter", "other text"),
        (ROW + '"http://a,c\n' + ROW * 3, 2, "closing quote", "end of the file"),
        (ROW + "http://a,b\rhttp://c,d\n", 2, "LF", "CR without LF"),
        (ROW + "http://a,b\r", 2, "LF", "CR without LF"),
        (ROW + "\r", 2, "LF", "CR without LF"),
        ("http://a,b\rhttp://c,d\r", 1, "LF", "CR without LF"),
        (ROW + "http://a,b\0\n", 2, "UTF-8", "NUL"),
        (ROW + '"http://a\nb",c\n', 2, "http(s) URL", "“http://a\nb”"),
        (f'"http://x","a\nb\nc"\n{ROW}bad,row\n', 5, "http(s) URL", "“bad”"),
        ("http://a," + "x" * (MAX_FIELD_CHARACTERS + 1), 1, "at most 65536 characters", "more"),
        ("http://a," + "x" * (2 * 1024 * 1024), 1, "at most 1048576 bytes", "more"),
    ],
)
def test_an_error_names_the_line_what_was_expected_and_what_was_found(
    tmp_path: Path, data: str, line: int, expected: str, found: str
) -> None:
    with pytest.raises(InvalidRequest) as error:
        parsed(tmp_path, data.encode())
    assert error.value.code == "invalid_csv"
    message = re.fullmatch(r"Line (\d+): expected (.*), found (.*)\.", error.value.message, re.DOTALL)
    assert message is not None, error.value.message
    assert int(message[1]) == line
    assert expected in message[2]
    assert found in message[3]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ((ROW + "http://ü,b\n").encode("latin-1"), "Line 2: expected UTF-8, found the byte 0xFC."),
        (ROW.encode("utf-16"), "Line 1: expected UTF-8, found UTF-16."),
        (ROW.encode("utf-16-le"), "Line 1: expected text in UTF-8, found a NUL byte."),
        ((ROW + "http://\ud800,b\n").encode("utf-8", "surrogatepass"), "Line 2: expected UTF-8, found the byte 0xED."),
    ],
)
def test_another_encoding_is_refused(tmp_path: Path, data: bytes, expected: str) -> None:
    with pytest.raises(InvalidRequest, match="UTF-8") as error:
        parsed(tmp_path, data)
    assert error.value.message == expected


def test_too_many_rows_are_refused(tmp_path: Path) -> None:
    data = ROW.encode() * 11
    assert len(parsed(tmp_path, data, max_rows=11)) == 11
    with pytest.raises(TooLarge):
        parsed(tmp_path, data, max_rows=10)


urls = st.from_regex(r"https?://[a-z]{1,8}/[!-~¡-ÿ ]{0,20}[!-~]", fullmatch=True)
anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(
    st.lists(st.tuples(urls, urls), min_size=1, max_size=6), st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"])
)
def test_rows_of_urls_are_read_back(tmp_path: Path, rows: list[tuple[str, str]], delimiter: str, end: str) -> None:
    output = io.StringIO()
    csv.writer(output, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    assert parsed(tmp_path, output.getvalue().encode()) == [[column.strip() for column in row] for row in rows]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(st.lists(st.tuples(urls, anything), min_size=1, max_size=6))
def test_the_second_column_can_be_any_text(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    output = io.StringIO()
    csv.writer(output, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    assert parsed(tmp_path, output.getvalue().encode()) == [[column.strip() for column in row] for row in rows]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=300)
@given(st.one_of(st.binary(max_size=60), st.text('h:/p";,\r\n\tx', max_size=60).map(str.encode)))
def test_any_bytes_are_either_rows_or_refused(tmp_path: Path, data: bytes) -> None:
    try:
        for row in parsed(tmp_path, data):
            assert row[0].lower().startswith("http")
    except InvalidRequest as error:
        assert error.code == "invalid_csv"  # noqa: PT017 - either outcome is correct


def test_the_delimiter_is_chosen_by_most_rows_not_by_the_first(tmp_path: Path) -> None:
    source = tmp_path / "csv"
    source.write_text(f"a,b;c\n{IIIF};{REPO}\n")
    assert find_delimiter(source) == ";"
