"""Recognises by their first bytes files that are not images, or that nothing here can decode."""

import re
import struct

# What a file is, with its article, by its first bytes.
STARTS = {
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\0\x0cJXL \r\n\x87\n": "a JPEG XL image",
    b"II\xbc\x01": "a JPEG XR image",
    b"8BPS": "a Photoshop document",
    b"v/1\x01": "an OpenEXR image",
    b"#?RADIANCE": "a Radiance HDR image",
    b"DDS ": "a DirectDraw texture",
    b"SIMPLE  =": "a FITS image",
    b"AT&TFORM": "a DjVu document",
    b"FUJIFILMCCD-RAW": "a raw file of a camera",
    b"IIRO": "a raw file of a camera",
    b"IIU\0": "a raw file of a camera",
    b"\0\0\1\0": "an icon",
    b"/* XPM */": "an XPM image",
    b"gimp xcf": "a GIMP document",
    b"%!PS": "a PostScript document",
    b"\xc5\xd0\xd3\xc6": "a PostScript document",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP file or an Office document",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"\x1f\x8b": "a gzip file",
    b"Rar!": "a RAR file",
    b"7z\xbc\xaf\x27\x1c": "a 7z file",
    b"\x1aE\xdf\xa3": "a video",
    b"OggS": "an audio or video file",
    b"ID3": "an audio file",
    b"fLaC": "an audio file",
}
PORTABLE = re.compile(rb"P[1-7Ff]\s")
DICOM, DICOM_PLACE = b"DICM", 128
# In the format of MPEG-4, by its brand: images that are not supported, and everything else.
BOX, RAW_BRAND = b"ftyp", b"crx "
# Text, after what may come before it.
BEFORE_TEXT = b"\xef\xbb\xbf \t\r\n"
TEXT = {
    b"<svg": "an SVG drawing",
    b"<!doctype html": "a web page (HTML)",
    b"<html": "a web page (HTML)",
    b"<?xml": "an XML document",
    b"{": "a JSON document",
    b"http://": "the text of a URL",
    b"https://": "the text of a URL",
    b"data:image/": "the text of a data URL",
    b"version https://git-lfs": "a pointer of Git LFS",
}
HEAD_BYTES = 200
# Of JPEG (T.81, B.1.1.3): frames without a loss, and those in which an image is refined step by step; JPEG-LS (T.87).
JPEG_START, LOSSLESS, HIERARCHICAL, JPEG_LS = b"\xff\xd8\xff", (0xC3, 0xCB), (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), 0xF7
FRAMES = frozenset({*range(0xC0, 0xD0), JPEG_LS} - {0xC4, 0xC8, 0xCC})
USUAL_BITS = 8


def other_format(data: bytes) -> str | None:
    """Return what a file is, with its article, if it is recognised as something that cannot be decoded."""
    head = data[:HEAD_BYTES]
    if PORTABLE.match(head):
        return "a portable anymap (PBM, PGM, PPM, PAM or PFM)"
    if data[4:8] == BOX:
        return "a raw file of a camera" if data[8:12] == RAW_BRAND else "a video, or an image in an unknown codec"
    if data[DICOM_PLACE : DICOM_PLACE + len(DICOM)] == DICOM:
        return "a DICOM file"
    found = next((kind for start, kind in STARTS.items() if head.startswith(start)), None)
    text = head.lstrip(BEFORE_TEXT).lower()
    return found or next((kind for start, kind in TEXT.items() if text.startswith(start)), None)


def unusual_jpeg(data: bytes) -> str | None:
    """Return what kind of JPEG a file is, with its article, if nothing here can decode it; None for a usual one."""
    position = 2 if data.startswith(JPEG_START) else len(data)
    while position + 5 <= len(data):
        first, marker, length, bits = struct.unpack_from(">BBHB", data, position)
        if first != JPEG_START[0]:
            return None
        if marker in FRAMES:
            return _kind_of_jpeg(marker, bits)
        position += 2 + max(length, 2)
    return None


def _kind_of_jpeg(marker: int, bits: int) -> str | None:
    if marker == JPEG_LS:
        return "a JPEG-LS image"
    if marker in HIERARCHICAL:
        return "a hierarchical JPEG"
    if marker in LOSSLESS:
        return f"a lossless JPEG of {bits} bits"
    return None if bits == USUAL_BITS else f"a JPEG of {bits} bits"
