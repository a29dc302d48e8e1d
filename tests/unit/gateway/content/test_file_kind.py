"""Files that people send in place of a CSV or an image."""

from pathlib import Path

import pytest

from gateway.content.file_kind import other_kind, refuse_other_kinds
from servicekit.errors import InvalidRequest


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PK\x03\x04\x14\0\x06\0[Content_Types].xml", "an Excel or another Office document"),
        (b"PK\x03\x04mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "an OpenDocument file"),
        (b"PK\x03\x04\x14\0photos/1.jpg", "a ZIP file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel or another Office document"),
        (b"\xef\xbb\xbf\n<!DOCTYPE HTML>", "an HTML page"),
        (b"<?xml version='1.0'?><svg>", "an XML file"),
        (b"PK\x05\x06" + bytes(18), "an empty ZIP file"),
        (b"BZh91AY&SY", "a bzip2 file"),
        (b"coins.csv".ljust(257, b"\0") + b"ustar\x0000", "a tar file"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\n<table><tr>", "an HTML page"),
        (b"\xff\xd8\xff\xe0", None),
        (b"https://a/1,https://b/1", None),
        (b"PK,https://b/1", None),
        (b"", None),
    ],
)
def test_files_of_other_kinds_are_recognised(head: bytes, kind: str | None) -> None:
    assert other_kind(head) == kind


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04\x14\0coins.csv", "The file is a ZIP file, not a CSV. Unpack it"),
        (b"PK\x03\x04\x14\0[Content_Types].xml", "Office document, not a CSV. Save the table as CSV in UTF-8"),
        (b"II*\0\x08\0\0\0", "The file is an image, not a CSV."),
        (b'{"images": [{"image_url": "https://a"}]}', "The file is JSON, not a CSV. Send the CSV itself"),
        (b'\xef\xbb\xbf [["https://a", "b"]]', "The file is JSON, not a CSV. Send the CSV itself"),
        (
            b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\nhttps://a,b\r\n--x--',
            "The file is a form, not a CSV. Send it with the header Content-Type: multipart/form-data",
        ),
    ],
)
def test_a_file_in_place_of_a_csv_is_refused_with_what_to_do(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "csv"
    file.write_bytes(data)
    with pytest.raises(InvalidRequest) as error:
        refuse_other_kinds(file)
    assert message in error.value.message


@pytest.mark.parametrize("data", [b"[image],[link]\n", b"{image},link\n", b"--,--\n", b"https://a,b\n"])
def test_a_csv_is_not_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "csv"
    file.write_bytes(data)
    refuse_other_kinds(file)
