"""What a download asks for, and what came instead: web pages, IIIF documents and the like."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from servicekit.download.failures import ImageFailed, Reason

# Enough to recognise any of them.
HEAD_BYTES = 4096
MAX_JSON_BYTES = 4 * 1024 * 1024
LONGEST_ID = 200
# Comments, declarations and spaces may come first (WHATWG MIME Sniffing, 7.1).
BEFORE_MARKUP = rb"(?:\s|<!--.*?-->|<\?.*?\?>)*"
HTML = re.compile(
    BEFORE_MARKUP
    + rb"<(?:!doctype\s+html|html|head|body|title|meta|script|noscript|style|h[1-6]|div|span|table|ul|p|pre|form"
    rb"|center|a|br|hr|b|i|em|strong|img|iframe|frameset|font)[\s>/]",
    re.IGNORECASE | re.DOTALL,
)
SVG = re.compile(BEFORE_MARKUP + rb"(?:<!doctype\s+svg[^>]*>\s*)?<svg[\s>]", re.IGNORECASE | re.DOTALL)
XML = re.compile(rb"\s*<[?!]?[a-z]", re.IGNORECASE)
JSON = re.compile(rb"\s*[{\[]")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# JPEG, PNG, GIF, TIFF, WebP, BMP, HEIF with AVIF and JPEG 2000, and a codestream of that.
IMAGE_STARTS = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"II", b"MM", b"RIFF", b"BM", b"\0\0\0", b"\xff\x4f")
# No control character is in a text, and no image is without one for so long. Most letters of most texts are ASCII.
TEXT = re.compile(rb"[\t\n\r -~\x80-\xff]+")
LEAST_ASCII_SHARE = 0.5
# What a host says, in text, JSON or XML, about a state that passes. Longer ones are documents.
LONGEST_REPORT = 2000
PASSING = re.compile(
    rb"temporar|unavailab|maintenance|try again|too many|rate.?limit|throttl|slow.?down|overload|busy|time[d ]*.?out"
    rb"|exceeded|internal.?(?:server.?)?error|wartung|vor\xc3?\xbcbergehend|sp\xc3?[\xa4\xe4]ter|indisponible"
    rb"|plus tard",
    re.IGNORECASE,
)
EXCERPT_CHARACTERS = 100
IIIF_IMAGE, IIIF_PRESENTATION = "iiif.io/api/image", "iiif.io/api/presentation"
PRESENTATION_TYPES = frozenset({"sc:Manifest", "sc:Collection", "Manifest", "Collection"})


@dataclass(frozen=True)
class Accepted:
    """A kind of content. headers: of each request. refusal: returns the failure for a body of another kind."""

    headers: Mapping[str, str]
    refusal: Callable[[bytes], ImageFailed | None]


def other_content(body: bytes) -> ImageFailed | None:
    """Return the failure for a body that is recognised as something else than an image; None for anything else."""
    head = _in_bytes(body[:HEAD_BYTES])
    if HTML.match(head):
        return ImageFailed(Reason.WEB_PAGE, "The host sent a web page (HTML) instead of an image.")
    if SVG.match(head):
        return _not_an_image("an SVG drawing, which is not supported")
    is_text = TEXT.fullmatch(head) is not None and not body.startswith(IMAGE_STARTS)
    if is_text and len(body) <= LONGEST_REPORT and PASSING.search(head):
        return ImageFailed(Reason.WEB_PAGE, f"The host sent text instead of an image: “{_excerpt(head)}”.")
    if JSON.match(head):
        return _json_failure(body)
    if XML.match(head):
        return _not_an_image("an XML document")
    if head.startswith(b"%PDF-"):
        return _not_an_image("a PDF document")
    return _text_failure(head) if is_text else None


def _in_bytes(head: bytes) -> bytes:
    """Return the beginning of a body without a byte order mark, and in bytes if it is UTF-16."""
    if head.startswith(UTF_16_MARKS):
        return head[: len(head) // 2 * 2].decode("utf-16", errors="replace").encode()
    return head.removeprefix(BYTE_ORDER_MARK)


def _text_failure(head: bytes) -> ImageFailed | None:
    """Return the failure for a message to people, or for an image that was encoded as text."""
    if sum(byte < 0x80 for byte in head) < LEAST_ASCII_SHARE * len(head):
        return None
    excerpt = _excerpt(head)
    if excerpt.lower().startswith("data:image/"):
        return _not_an_image("the text of a data URL")
    if not excerpt:
        return _not_an_image("white space")
    return ImageFailed(Reason.NOT_AN_IMAGE, f"The host sent text instead of an image: “{excerpt}”.")


def _excerpt(head: bytes) -> str:
    text = " ".join(_decoded(head).split())
    return text if len(text) <= EXCERPT_CHARACTERS else f"{text[:EXCERPT_CHARACTERS]}…"


def _decoded(head: bytes) -> str:
    try:
        # The last letter may be cut.
        return head.decode() if len(head) < HEAD_BYTES else head[:-4].decode(errors="ignore")
    except UnicodeDecodeError:
        return head.decode("cp1252", errors="replace")


def _not_an_image(what: str, advice: str = "") -> ImageFailed:
    return ImageFailed(Reason.NOT_AN_IMAGE, f"The URL leads to {what}, not to an image.{advice}")


def _json_failure(body: bytes) -> ImageFailed:
    try:
        value: object = json.loads(body.removeprefix(BYTE_ORDER_MARK)) if len(body) <= MAX_JSON_BYTES else None
    except (ValueError, RecursionError):
        return _not_an_image("text that begins like JSON")
    if not isinstance(value, dict):
        return _not_an_image("a JSON document")
    document = cast("dict[str, object]", value)
    context = json.dumps([document.get("@context"), document.get("protocol")])
    kind = document.get("type", document.get("@type"))
    if IIIF_IMAGE in context or kind in ("ImageService2", "ImageService3"):
        return _not_an_image("a IIIF info.json", f" Use an image URL such as {_image_url(document)}.")
    if IIIF_PRESENTATION in context or (isinstance(kind, str) and kind in PRESENTATION_TYPES):
        return _not_an_image("a IIIF manifest", " Use the URLs of its images.")
    return _not_an_image("a JSON document")


def _image_url(document: dict[str, object]) -> str:
    """Return a URL of the image that an info.json describes (IIIF Image API 2.1 and 3.0, 2.1)."""
    identifier = document.get("id", document.get("@id"))
    if not isinstance(identifier, str) or not re.match(r"https?://", identifier) or len(identifier) > LONGEST_ID:
        identifier = "…"
    return f"{identifier.rstrip('/')}/full/!1000,1000/0/default.jpg"


IMAGES = Accepted(
    {
        "Accept": "image/*, */*;q=0.1",
        # Images are compressed already, and a second compression only makes their size harder to limit.
        "Accept-Encoding": "identity",
    },
    other_content,
)
# JSON and XML. Those who parse them say what is wrong with a body.
DOCUMENTS = Accepted(
    {
        "Accept": "application/ld+json, application/json, text/xml, application/xml, */*;q=0.1",
        "Accept-Encoding": "gzip",
    },
    lambda _: None,
)
