"""Files that people send in place of a CSV or an image."""

import pytest

from gateway.content.file_kind import other_kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PK\x03\x04\x14\0\x06\0[Content_Types].xml", "an Excel or another Office document"),
        (b"PK\x03\x04mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "an OpenDocument file"),
        (b"PK\x03\x04\x14\0photos/1.jpg", "a ZIP file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel or another Office document"),
        (b"\xef\xbb\xbf\n<!DOCTYPE HTML>", "an HTML page"),
        (b"<?xml version='1.0'?><svg>", "an XML file"),
        (b"\xff\xd8\xff\xe0", None),
        (b"https://a/1,https://b/1", None),
        (b"PK,https://b/1", None),
        (b"", None),
    ],
)
def test_files_of_other_kinds_are_recognised(head: bytes, kind: str | None) -> None:
    assert other_kind(head) == kind
