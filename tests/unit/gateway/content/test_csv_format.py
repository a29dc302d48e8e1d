"""Which CSVs are accepted, which rows they have, and how errors in the others are reported."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.content.cell_text import BLANK, MAX_FIELD_CHARACTERS
from gateway.content.csv_dialect import find_dialect
from gateway.content.csv_format import copy_rows
from servicekit.errors import InvalidRequest, TooLarge

IIIF = "https://iiif.example.org/1/full/512,/0/default.jpg"
REPO = "https://repo.example.org/detail/1"
ROW = f"{REPO},{REPO}\n"


def copied(tmp_path: Path, data: bytes, max_rows: int = 1000) -> tuple[list[list[str]], list[str]]:
    """Return the rows that Postgres would receive, and the warnings."""
    source, target = tmp_path / "csv", tmp_path / "rows"
    source.write_bytes(data)
    summary = copy_rows(source, target, max_rows=max_rows)
    with target.open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    assert len(found) == summary.row_count
    return found, summary.warnings


def parsed(tmp_path: Path, data: bytes, max_rows: int = 1000) -> list[list[str]]:
    """Return the rows that Postgres would receive."""
    return copied(tmp_path, data, max_rows)[0]


def refusal(tmp_path: Path, data: str) -> str:
    """Return the message with which a CSV is refused."""
    with pytest.raises(InvalidRequest) as error:
        parsed(tmp_path, data.encode())
    assert error.value.code == "invalid_csv"
    return error.value.message


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


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_are_counted_as_people_do(tmp_path: Path, delimiter: str) -> None:
    """A spreadsheet with something in its third column saves a third one for every row."""
    data = "".join(delimiter.join(row) + "\r\n" for row in (["Bild", "Link", ""], [REPO, REPO, ""], [REPO, REPO, "x"]))
    expected = (
        "Line 1: expected two columns (image URL, repository URL), found 3. The columns after the second are empty: "
    )
    assert refusal(tmp_path, data) == f"{expected}remove the delimiters at the ends of the lines."


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (
            f"{REPO},{REPO},\n",
            "The columns after the second are empty: remove the delimiters at the ends of the lines.",
        ),
        (f"{REPO},{REPO},coin\n", "Quote a field that contains the delimiter, and remove other columns."),
        (f"id,{REPO},{REPO}\n", "Remove other columns."),
        (f"{REPO}|{REPO}\n", "Separate the columns by a comma, a semicolon or a tab, not by “|”."),
        (f"{REPO}  {REPO}\n", "Separate the columns by a comma, a semicolon or a tab, not by a space."),
        (f"{REPO}\n", "The second one may be empty, but not missing."),
        (f'"{REPO},{REPO}"\n', "Either the whole line is in quotes, or its delimiter is not that of the file."),
        (f"{ROW}{REPO};{REPO}\n", "Either the whole line is in quotes, or its delimiter is not that of the file."),
    ],
)
def test_a_wrong_number_of_columns_comes_with_advice(tmp_path: Path, data: str, advice: str) -> None:
    message = refusal(tmp_path, data)
    assert "expected two columns (image URL, repository URL), found" in message
    assert message.endswith(advice)


@pytest.mark.parametrize("entry", ["1,0", "Müller, Anna", "obj-17", ""])
@pytest.mark.parametrize(
    "image", [IIIF, "https://a.example.org/17", "https://a.example.org/1.tif", "https://a.example.org/1.jpg?size=1"]
)
def test_a_delimiter_that_would_cut_the_name_of_an_image_file_is_not_chosen(
    tmp_path: Path, image: str, entry: str
) -> None:
    assert parsed(tmp_path, f"{image};{entry}\n".encode() * 3) == [[image, entry]] * 3
    assert parsed(tmp_path, f'"{image}",{entry.replace(",", ";")}\n'.encode()) == [[image, entry.replace(",", ";")]]


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


@pytest.mark.parametrize("space", [" ", "   ", "\t", "\u00a0", "\u2003 ", "\u200b", "\ufeff", " \t\u00a0"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_white_space_around_a_quoted_field_is_stripped(tmp_path: Path, space: str, delimiter: str) -> None:
    if delimiter in space:
        return
    quoted = [IIIF, REPO], [REPO, 'a "b"; , c\nd'], [REPO, ""]
    fields = [[f'{space}"{cell.replace(chr(34), chr(34) * 2)}"{space}' for cell in row] for row in quoted]
    data = "".join(delimiter.join(row) + "\r\n" for row in fields)
    assert parsed(tmp_path, f"{ROW.replace(',', delimiter)}{data}".encode()) == [[REPO, REPO], *quoted]


def test_only_the_second_field_may_have_white_space_before_its_quote(tmp_path: Path) -> None:
    for space in (" ", "\t", "\u00a0"):
        assert parsed(tmp_path, f'{REPO},{space}"{REPO}"\n'.encode()) == [[REPO, REPO]]


def test_quotes_inside_a_field_stay(tmp_path: Path) -> None:
    data = f'"{IIIF}" ,"""a"" b"\n{REPO}/"c",d "e"\n'.encode()
    assert parsed(tmp_path, data) == [[IIIF, '"a" b'], [f'{REPO}/"c"', 'd "e"']]


@pytest.mark.parametrize("line", ["sep={}", '"sep={}"', "SEP={}", "sep={}{}", '"sep={}"{}', "sep={} "])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("header", [[], ["image", "link"]])
def test_a_first_line_for_excel_names_the_delimiter(
    tmp_path: Path, line: str, delimiter: str, bom: str, header: list[str]
) -> None:
    output = io.StringIO()
    csv.writer(output, delimiter=delimiter).writerows([*([header] if header else []), [IIIF, REPO], [IIIF, "a;b,c"]])
    data = f"{bom}{line.format(delimiter, delimiter)}\r\n{output.getvalue()}"
    assert parsed(tmp_path, data.encode()) == [[IIIF, REPO], [IIIF, "a;b,c"]]


def test_lines_are_counted_from_the_line_for_excel(tmp_path: Path) -> None:
    assert refusal(tmp_path, f"sep=,\n{ROW}ftp://a,b\n").startswith("Line 3:")
    assert refusal(tmp_path, f'sep=,\n"{REPO}" ,{REPO}\nftp://a,b\n').startswith("Line 3:")


BLANK_ROWS = [",\n", ",,,\n", '"",""\n', '"" , " "\n', " , \n", "\u00a0,\u200b\n", "\t,\n", "\ufeff\n", ",\r\n"]


@pytest.mark.parametrize("blank", BLANK_ROWS)
def test_blank_rows_are_skipped(tmp_path: Path, blank: str) -> None:
    for data in (ROW + blank, blank + ROW, blank * 60 + "image,link\n" + blank + ROW + blank * 2):
        assert parsed(tmp_path, data.encode()) == [[REPO, REPO]]
    assert parsed(tmp_path, (blank * 3).encode()) == []


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_rows_of_any_delimiter_only_are_skipped(tmp_path: Path, delimiter: str) -> None:
    row = f"{IIIF}{delimiter}{REPO}\r\n"
    data = f"Bild{delimiter}Link\r\n{row}{delimiter}\r\n{row}{delimiter * 5}\r\n"
    assert parsed(tmp_path, data.encode()) == [[IIIF, REPO]] * 2


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ("https://a/\u200b1.jpg", "https://a/1.jpg"),
        ("\u200ehttps://a/1.jpg\u200f", "https://a/1.jpg"),
        ("https://a/su\u00admmer.jpg", "https://a/summer.jpg"),
        ("\ufeffhttps://a/1.jpg", "https://a/1.jpg"),
        ("\u00a0https://a/1.jpg\u00a0", "https://a/1.jpg"),
        ("ht\u2060tps://a/1.jpg\u202c", "https://a/1.jpg"),
        ("https://a/\u200c1\u200d.jpg", "https://a/1.jpg"),
        ("https://a/\u200bMünze.jpg", "https://a/Münze.jpg"),
    ],
)  # fmt: skip
def test_invisible_characters_are_removed_from_urls_with_a_warning(tmp_path: Path, found: str, kept: str) -> None:
    rows, warnings = copied(tmp_path, f"{ROW}{found},{REPO}\n{REPO},{found}\n{ROW}".encode())
    assert rows == [[REPO, REPO], [kept, REPO], [REPO, kept], [REPO, REPO]]
    (warning,) = warnings
    assert warning.startswith("Invisible characters were removed from 2 rows, first in line 2: U+")


def test_removed_characters_are_named(tmp_path: Path) -> None:
    (warning,) = copied(tmp_path, f"{REPO}\u200b\u00ad,{REPO}\u00a0\u200e\u200f\n".encode())[1]
    assert warning == (
        "Invisible characters were removed from 1 row, first in line 1: "
        "U+00A0 no-break space, U+00AD soft hyphen, U+200B zero width space and 2 more."
    )


def test_characters_that_belong_to_a_url_stay_without_a_warning(tmp_path: Path) -> None:
    rows = [
        [url, REPO]
        for url in (
            "https://a/Münze 1.jpg",
            "https://a/می\u200cخواهم",
            "https://a/👩\u200d🎨.jpg",
            "https://a/%E2%80%8B",
        )
    ]
    assert copied(tmp_path, "".join(f"{url},{repo}\n" for url, repo in rows).encode()) == (rows, [])


def test_text_in_the_second_column_loses_invisible_characters_at_its_ends_only(tmp_path: Path) -> None:
    rows, warnings = copied(tmp_path, f"{REPO},\u200bobj\u00ad-17\u00a0\n".encode())
    assert rows == [[REPO, "obj\u00ad-17"]]
    assert "U+00A0 no-break space, U+200B zero width space" in warnings[0]


@pytest.mark.parametrize(
    "header", ["foo,bar", "Bild,Link", "Bild/URL,URL/Link", "image_url,", ",Objektseite", " Image , Link "]
)
def test_a_line_that_is_taken_as_the_header_row_is_named(tmp_path: Path, header: str) -> None:
    rows, warnings = copied(tmp_path, f"{header}\n{ROW}".encode())
    assert rows == [[REPO, REPO]]
    first, second = (f"“{cell.strip()}”" if cell else "an empty field" for cell in header.split(","))
    assert warnings == [f"Line 1 was taken as the header row, not as an image: {first} and {second}."]
    assert copied(tmp_path, f"sep=,\n,\n{header}\n{ROW}".encode())[1][0].startswith(
        "Line 3 was taken as the header row"
    )


def test_only_the_first_row_can_be_the_header_row(tmp_path: Path) -> None:
    assert refusal(tmp_path, f"image,link\nimage,link\n{ROW}").startswith("Line 2:")
    assert refusal(tmp_path, f"{ROW}image,link\n").startswith("Line 2:")


SWAPPED = (
    "The columns look swapped: the second one has the images. "
    "The first column must be the image URL, the second one the repository URL."
)
IMAGE = "https://a/1.jpg"


@pytest.mark.parametrize(
    ("rows", "swapped"),
    [
        ([(REPO, IMAGE)], True),
        ([(REPO, "https://a/full/512,/0/default.JPG?x=1")], True),
        ([(REPO, "https://a/image?file=1.tiff&size=5")], True),
        ([(REPO, IMAGE)] * 9 + [(REPO, REPO)], True),
        ([(REPO, IMAGE)] * 7 + [(REPO, REPO)] * 3, False),
        ([(IMAGE, IMAGE)], False),
        ([(IMAGE, REPO)], False),
        ([(IMAGE, "1.jpg")], False),
        ([(REPO, REPO)], False),
        ([("Repository URL", "Image URL"), (REPO, REPO)], True),
        ([("Objektseite", "Bilddatei"), (REPO, REPO)], True),
        ([("Bild", "Objekt"), (REPO, REPO)], False),
        ([("URL", "Link"), (REPO, REPO)], False),
        ([("Objekt", "Bild"), (IMAGE, REPO)], False),
    ],
)  # fmt: skip
def test_swapped_columns_are_a_warning(tmp_path: Path, rows: list[tuple[str, str]], swapped: bool) -> None:
    output = io.StringIO()
    csv.writer(output).writerows(rows)
    assert (SWAPPED in copied(tmp_path, output.getvalue().encode())[1]) == swapped


def test_a_usual_csv_has_no_warnings(tmp_path: Path) -> None:
    assert copied(tmp_path, f"{IMAGE},{REPO}\n{IMAGE},obj-17\n{IMAGE},\n".encode())[1] == []


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
        ("just text\n", 1, "two columns", "1"),
        ("no,urls\nat,all\n", 2, "http(s) URL", "“at”"),
        ("foo,obj-17\n" + ROW, 1, "http(s) URL", "“foo”"),
        ("image.jpg,link\n" + ROW, 1, "http(s) URL", "“image.jpg”"),
        ("IMG_1,link\n" + ROW, 1, "http(s) URL", "“IMG_1”"),
        ("image,javascript:alert(x)\n" + ROW, 1, "http(s) URL", "“image”"),
        ("a/b,c\n" + ROW, 1, "http(s) URL", "“a/b”"),
        (f"obj-17,{IIIF.replace(',', '')}\n", 1, "http(s) URL", "“obj-17”. The second column looks like the image URL"),
        (f"sep=|\n{REPO}|{REPO}\n", 1, "a comma, a semicolon or a tab", "“|”"),
        (f"sep=\n{ROW}", 1, "a comma, a semicolon or a tab", "nothing"),
        (f"sep=;\n;\n{ROW}", 3, "two columns", "1"),
        (f"{ROW},\n{ROW},x,\n", 4, "two columns", "3"),
        (ROW + f"{REPO},javascript:alert(1)\n", 2, "another scheme", "“javascript:” in “javascript:alert(1)”"),
        (ROW + f'"{REPO}" , " {REPO}" x\n', 2, "delimiter", "other text"),
        (ROW + f'"{REPO}" , " {REPO}\n', 2, "closing quote", "end of the file"),
        (ROW + f'"{REPO}" , ftp\n"{REPO}" , http://a\rb\n', 3, "LF", "CR without LF"),
        (ROW + f'"{REPO}" , "{"x" * (MAX_FIELD_CHARACTERS + 1)}"\n', 2, "at most 65536 characters", "more"),
        (ROW + f'"{REPO}" , "{("x" * 100 + chr(10)) * 700}"\n', 2, "at most 65536 characters", "more"),
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
        ((ROW + "http://a,b (Münze)\n").encode("latin-1"), "Line 2: … the byte 0xFC (“Münze” in Windows-1252)."),
        ((ROW + "http://a,b –\n").encode("cp1252"), "Line 2: … the byte 0x96."),
        (ROW.encode("utf-16"), "Line 1: … UTF-16."),
        (ROW.encode("utf-16-le"), "Line 1: … UTF-16."),
        (ROW.encode("utf-16-be"), "Line 1: … UTF-16."),
        (ROW.encode("utf-32"), "Line 1: … UTF-32."),
        ((ROW + "http://\ud800,b\n").encode("utf-8", "surrogatepass"), "Line 2: … the byte 0xED."),
    ],
)
def test_another_encoding_is_refused(tmp_path: Path, data: bytes, expected: str) -> None:
    with pytest.raises(InvalidRequest, match="UTF-8") as error:
        parsed(tmp_path, data)
    advice = "Save the file as UTF-8 (in Excel: “CSV UTF-8”)."
    assert error.value.message == f"{expected.replace('…', 'expected UTF-8, found')} {advice}"


def test_too_many_rows_are_refused(tmp_path: Path) -> None:
    data = ROW.encode() * 11
    assert len(parsed(tmp_path, data, max_rows=11)) == 11
    with pytest.raises(TooLarge):
        parsed(tmp_path, data, max_rows=10)


urls = st.from_regex(r"https?://[a-z]{1,8}/[!-~¡-¬®-ÿ ]{0,20}[!-~]", fullmatch=True)
# Without colons: some texts with a colon are refused.
anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0:"), max_size=20)


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
    assert parsed(tmp_path, output.getvalue().encode()) == [[column.strip(BLANK) for column in row] for row in rows]


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
    assert find_dialect(source).delimiter == ";"
