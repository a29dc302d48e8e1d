"""Which CSVs are taken, which rows they have, and what is said of the others."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.content.csv_format import MAX_FIELD_CHARACTERS, copy_rows, find_delimiter
from servicekit.errors import InvalidRequest, TooLarge

IIIF = "https://iiif.example.org/1/full/512,/0/default.jpg"
REPO = "https://repo.example.org/detail/1"


def parsed(tmp_path: Path, data: bytes, max_rows: int = 1000) -> list[list[str]]:
    """The rows that Postgres would be given."""
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
def test_every_allowed_form_gives_the_same_rows(
    tmp_path: Path, delimiter: str, end: str, bom: bytes, header: list[str], last: bool
) -> None:
    rows = [[IIIF, REPO], [IIIF, REPO], ["http://a/ü.jpg", ""]]
    output = io.StringIO()
    csv.writer(output, delimiter=delimiter, lineterminator=end).writerows([header, *rows] if header else rows)
    data = bom + output.getvalue().encode()
    assert parsed(tmp_path, data if last else data.removesuffix(end.encode())) == rows


def test_commas_in_urls_do_not_make_a_semicolon_csv_a_comma_csv(tmp_path: Path) -> None:
    assert parsed(tmp_path, f"{IIIF};{REPO}\n".encode()) == [[IIIF, REPO]]
    assert parsed(tmp_path, f"image;link\n{IIIF};{REPO}\n".encode()) == [[IIIF, REPO]]


def test_semicolons_in_urls_do_not_make_a_comma_csv_a_semicolon_csv(tmp_path: Path) -> None:
    assert parsed(tmp_path, f"http://a/1;v=2.jpg,{REPO};x=1\n".encode()) == [["http://a/1;v=2.jpg", f"{REPO};x=1"]]


def test_quoted_fields_may_hold_quotes_delimiters_and_newlines(tmp_path: Path) -> None:
    data = f'"{IIIF}","a ""b"", c;\nd"\r\n{REPO},x\n'.encode()
    assert parsed(tmp_path, data) == [[IIIF, 'a "b", c;\nd'], [REPO, "x"]]


def test_empty_lines_are_no_rows(tmp_path: Path) -> None:
    assert parsed(tmp_path, f"\n\r\n{IIIF};{REPO}\n\n  \n{IIIF};{REPO}\n\n".encode()) == [[IIIF, REPO]] * 2
    assert parsed(tmp_path, b"") == []
    assert parsed(tmp_path, b"\xef\xbb\xbf\r\n") == []


def test_spaces_around_a_field_do_not_belong_to_it(tmp_path: Path) -> None:
    assert parsed(tmp_path, b"HTTP://a/b , http://c\n") == [["HTTP://a/b", "http://c"]]


ROW = f"{REPO},{REPO}\n"


@pytest.mark.parametrize(
    ("data", "line", "expected"),
    [
        (ROW + "http://a\n", 2, "two columns"),
        (ROW + "http://a,http://b,http://c\n", 2, "found 3"),
        (ROW + "ftp://a/b,http://c\n", 2, "http(s) URL"),
        (ROW + "/a.jpg,http://c\n", 2, "http(s) URL"),
        (ROW + ",http://c\n", 2, "found nothing"),
        (ROW + "http://,http://c\n", 2, "http(s) URL"),
        (ROW + "http:///a.jpg,http://c\n", 2, "http(s) URL"),
        (ROW + "image,repo\n", 2, "http(s) URL"),
        ("ftp://a/b.jpg,http://c\n" + ROW, 1, "http(s) URL"),
        ("www.example.org/b.jpg,www.example.org/b\n" + ROW, 1, "http(s) URL"),
        ("image,repo\n", 1, "below the header"),
        ("just text\n", 1, "two columns"),
        ("no,urls\nat,all\n", 2, "http(s) URL"),
        (",\n", 1, "http(s) URL"),
        (ROW + '"http://a"b,c\n', 2, "closing quote"),
        (ROW + '"http://a,c\n' + ROW * 3, 2, "never closed"),
        (ROW + "http://a,b\rhttp://c,d\n", 2, "bare CR"),
        (ROW + "http://a,b\r", 2, "bare CR"),
        (ROW + "\r", 2, "bare CR"),
        ("http://a,b\rhttp://c,d\r", 1, "bare CR"),
        (ROW + "http://a,b\0\n", 2, "NUL"),
        (ROW + '"http://a\nb",c\n', 2, "http(s) URL"),
        (f'"http://x","a\nb\nc"\n{ROW}bad,row\n', 5, "http(s) URL"),
        ("http://a," + "x" * (MAX_FIELD_CHARACTERS + 1), 1, "more than 65536 characters"),
        ("http://a," + "x" * (2 * 1024 * 1024), 1, "more than 1048576 bytes"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, data: str, line: int, expected: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parsed(tmp_path, data.encode())
    assert error.value.code == "invalid_csv"
    assert error.value.message.startswith(f"Line {line}: ")
    assert expected in error.value.message


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
def test_rows_that_are_urls_are_found_again(
    tmp_path: Path, rows: list[tuple[str, str]], delimiter: str, end: str
) -> None:
    output = io.StringIO()
    csv.writer(output, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    assert parsed(tmp_path, output.getvalue().encode()) == [[column.strip() for column in row] for row in rows]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(st.lists(st.tuples(urls, anything), min_size=1, max_size=6))
def test_a_second_column_may_be_any_text(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    output = io.StringIO()
    csv.writer(output, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    assert parsed(tmp_path, output.getvalue().encode()) == [[column.strip() for column in row] for row in rows]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=300)
@given(st.one_of(st.binary(max_size=60), st.text('h:/p";,\r\n\tx', max_size=60).map(str.encode)))
def test_any_bytes_are_rows_or_refused(tmp_path: Path, data: bytes) -> None:
    try:
        for row in parsed(tmp_path, data):
            assert row[0].lower().startswith("http")
    except InvalidRequest as error:
        assert error.code == "invalid_csv"  # noqa: PT017 - either outcome is right


def test_the_delimiter_is_that_of_most_rows_not_of_the_first(tmp_path: Path) -> None:
    source = tmp_path / "csv"
    source.write_text(f"a,b;c\n{IIIF};{REPO}\n")
    assert find_delimiter(source) == ";"
