"""Whether a client asks for a IIIF manifest in place of our JSON."""

import re

from aiohttp import web

from gateway.http.parameters import choice

FORMAT, IIIF = "format", "iiif"
CONTEXT = "http://iiif.io/api/presentation/3/context.json"
MEDIA_TYPE = f'application/ld+json;profile="{CONTEXT}"'
ACCEPTED = re.compile(r'application/ld\+json\s*;\s*profile\s*=\s*"?http://iiif\.io/api/presentation/3/', re.IGNORECASE)


def wants_manifest(request: web.Request) -> bool:
    """Return whether a client asks for a manifest: with `?format=iiif`, or its media type in `Accept`.

    Raises InvalidRequest, invalid_format.
    """
    if choice(request.query, "format", (IIIF, "json")) == IIIF:
        return True
    return FORMAT not in request.query and ACCEPTED.search(request.headers.get("Accept", "")) is not None
