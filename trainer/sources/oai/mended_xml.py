"""Mends XML of repositories that put texts of their database into it as they are.

One such record would otherwise make the whole repository unreadable.
"""

import re
from collections.abc import Iterator

# What a document says of its encoding, at its beginning.
DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
UTF_8 = (b"utf-8", b"utf8", b"us-ascii", b"ascii")
# Characters that XML 1.0 (2.2) does not allow.
ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# References to characters, and "&" that begins neither one nor a name that XML knows.
REFERENCE = re.compile(r"&#(?:(\d{1,7})|[xX]([0-9a-fA-F]{1,6}));|&(?!(?:amp|lt|gt|quot|apos);)", re.ASCII)
# Sections in which "&" has no meaning, and their ends.
SECTION = re.compile(r"<!\[CDATA\[|<!--")
ENDS = {"<![CDATA[": "]]>", "<!--": "-->"}
LAST = 0x10FFFF
# Several copies of a document are in memory meanwhile.
MAX_BYTES = 8 * 1024 * 1024


def mended(body: bytes) -> bytes | None:
    """Return a document with the usual faults mended; None if it is too large, or not in UTF-8 by its own account.

    Bytes that are not UTF-8 are read as Windows-1252, illegal characters become spaces, and "&" is escaped where it
    begins no reference that XML knows, such as in `&nbsp;`.
    """
    if len(body) > MAX_BYTES:
        return None
    declared = DECLARED.search(body[:200].removeprefix(b"\xef\xbb\xbf"))
    if (declared is not None and declared[1].lower() not in UTF_8) or body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    text = body.decode("utf-8-sig", "surrogateescape")
    text = re.sub("[\udc80-\udcff]", _of_windows, text)
    return "".join(_with_references(ILLEGAL.sub(" ", text))).encode("utf-8", "replace")


def _with_references(text: str) -> Iterator[str]:
    at = 0
    while section := SECTION.search(text, at):
        yield REFERENCE.sub(_reference, text[at : section.start()])
        end = text.find(ENDS[section[0]], section.end())
        at = len(text) if end < 0 else end
        yield text[section.start() : at]
    yield REFERENCE.sub(_reference, text[at:])


def _of_windows(found: re.Match[str]) -> str:
    return bytes([ord(found[0]) - 0xDC00]).decode("cp1252", "replace")


def _reference(found: re.Match[str]) -> str:
    if found[0] == "&":
        return "&amp;"
    code = int(found[1]) if found[1] else int(found[2], 16)
    if code > LAST or 0xD800 <= code < 0xE000 or ILLEGAL.match(chr(code)):
        return " "
    return found[0]
