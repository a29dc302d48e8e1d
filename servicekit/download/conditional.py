"""Conditional requests (RFC 9110, 13): a host sends an image again only if it has a newer version."""

import aiohttp

from servicekit.download.image_version import ImageVersion

VALIDATOR_CHARACTERS = 200


def conditions(version: ImageVersion) -> dict[str, str]:
    """Return the headers that ask for a newer version than this one. An ETag is the stronger validator (13.1.3)."""
    if version.etag is not None:
        return {"If-None-Match": version.etag}
    if version.last_modified is not None:
        return {"If-Modified-Since": version.last_modified}
    return {}


def version_of(response: aiohttp.ClientResponse) -> ImageVersion:
    """Return the version of the image in a response."""
    return ImageVersion(_validator(response, "ETag"), _validator(response, "Last-Modified"))


def _validator(response: aiohttp.ClientResponse, header: str) -> str | None:
    """Return a header that can be stored and sent back; None if it is absent or malformed."""
    value = response.headers.get(header, "")
    usable = value.isascii() and value.isprintable() and 0 < len(value) <= VALIDATOR_CHARACTERS
    return value if usable else None
