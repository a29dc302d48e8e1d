"""Base64 as clients send it: standard or URL-safe, with line breaks, with or without padding, or as a data URL."""

import base64
import binascii
import re

from servicekit.errors import InvalidRequest

# RFC 2397: a media type whose parameters may be quoted strings, commas in them included.
DATA_URL = re.compile(rb'\s*data:(?:"[^"]*"|[^,])*+,', re.IGNORECASE)
BASE64_SIGN = re.compile(rb";\s*base64\s*,\Z", re.IGNORECASE)
MAX_DATA_URL_HEAD = 2048
WHITESPACE = b" \t\r\n"
URL_SAFE = bytes.maketrans(b"-_", b"+/")


def strip_data_url(text: bytes) -> bytes:
    """The text behind the head of a data URL, or the text itself. Raises InvalidRequest where it is not base64."""
    head = DATA_URL.match(text[:MAX_DATA_URL_HEAD])
    if head is None:
        return text
    if BASE64_SIGN.search(head[0]) is None:
        raise InvalidRequest("The data URL is not base64.", code="invalid_base64")
    return text[head.end() :]


def normalised(text: bytes) -> bytes:
    """In the standard alphabet and without white space; what is no base64 stays and is found later."""
    return text.translate(URL_SAFE, WHITESPACE)


def padded(text: bytes) -> bytes:
    """With the padding that URL-safe encoders leave away."""
    return text if text.endswith(b"=") else text + b"=" * (-len(text) % 4)


def decode_standard(text: bytes) -> bytes:
    """Decodes the standard alphabet, padded, without white space. Raises InvalidRequest, invalid_base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid() from None


def invalid() -> InvalidRequest:
    """The refusal of what is not base64."""
    return InvalidRequest("What was sent is not base64.", code="invalid_base64")
