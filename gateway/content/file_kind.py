"""Recognise files of other kinds, which people send in place of a CSV or an image."""

import re
from base64 import urlsafe_b64decode
from pathlib import Path

from servicekit.errors import InvalidRequest

HEAD_BYTES = 1024
ZIP = b"PK\x03\x04"
# What the first entries of a ZIP file are called if it is a document.
IN_ZIP = {b"[Content_Types].xml": "an Excel or another Office document", b"vnd.oasis.": "an OpenDocument file"}
GZIP = b"\x1f\x8b"
BINARY = {
    ZIP: "a ZIP file",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel or another Office document",
    GZIP: "a gzip file",
    b"7z\xbc\xaf\x27\x1c": "a 7z file",
    b"Rar!": "a RAR file",
    b"%PDF-": "a PDF document",
    b"PK\x05\x06": "an empty ZIP file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\0": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"SQLite format 3\0": "an SQLite database",
    b"PAR1": "a Parquet file",
    b"{\\rtf": "an RTF document",
}
ARCHIVES = (ZIP, b"7z", b"Rar!", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
TAR, TAR_PLACE = b"ustar", 257
IMAGES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"RIFF", b"\0\0\0\x0cjP", b"8BPS")
# JSON, or a form of a browser, both of which only some routes take.
CSV_ONLY = {
    re.compile(rb"[{\[]\s*[\"{\[]"): (
        "JSON",
        "Send the CSV itself, or its base64 as the field content of a JSON object.",
    ),
    re.compile(rb"--\S+\r?\ncontent-disposition:", re.IGNORECASE): (
        "a form",
        "Send it with the header Content-Type: multipart/form-data and its boundary, or send the CSV alone.",
    ),
}
SPACE = b"\xef\xbb\xbf \t\r\n"
TEXT = {
    b"<table": "an HTML page",
    b"<body": "an HTML page",
    b"<svg": "an SVG drawing",
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML file",
}
# The beginning of a CSV in base64, as in the field `content` of a JSON object: the letters of at least one URL.
ENCODED = re.compile(rb"(?:data:[^,]{0,100},)?([A-Za-z0-9+/_-]{24,})[A-Za-z0-9+/_=\s-]*", re.IGNORECASE)


def other_kind(head: bytes) -> str | None:
    """Return what a file with this beginning is, with its article; None: it is not one of the kinds known here."""
    if head.startswith(ZIP):
        return next((kind for name, kind in IN_ZIP.items() if name in head), BINARY[ZIP])
    binary = next((kind for start, kind in BINARY.items() if head.startswith(start)), None)
    if head[TAR_PLACE : TAR_PLACE + len(TAR)] == TAR:
        binary = "a tar file"
    text = head.lstrip(SPACE).lower()
    return binary or next((kind for start, kind in TEXT.items() if text.startswith(start)), None)


def refuse_other_kinds(csv: Path) -> None:
    """Raise InvalidRequest, invalid_csv, if a file that should be a CSV is obviously something else."""
    with csv.open("rb") as file:
        head = file.read(HEAD_BYTES)
    kind = "an image" if head.startswith(IMAGES) else other_kind(head)
    advice = "Save the table as CSV in UTF-8, and upload that file."
    if head.startswith(ARCHIVES) and kind not in IN_ZIP.values():
        advice = "Unpack it, and upload the CSV that is in it."
    if kind is None and _is_encoded(head):
        kind, advice = "base64", "Send the CSV itself, or the base64 as the field content of a JSON object."
    for beginning, (name, what_to_do) in CSV_ONLY.items():
        if kind is None and beginning.match(head.lstrip(SPACE)):
            kind, advice = name, what_to_do
    if kind is None:
        return
    if head.startswith(GZIP):
        advice = "Unpack it, or send it with the header Content-Encoding: gzip."
    raise InvalidRequest(f"The file is {kind}, not a CSV. {advice}", code="invalid_csv")


def _is_encoded(head: bytes) -> bool:
    found = ENCODED.fullmatch(head)
    if found is None:
        return False
    letters = found[1].translate(bytes.maketrans(b"+/", b"-_"))
    return b"http" in urlsafe_b64decode(letters[: len(letters) // 4 * 4]).lower()
