"""Files that the gateway serves as they are, with an entity tag, compressed once."""

import gzip
import hashlib
from dataclasses import dataclass

from aiohttp import ETag, hdrs, web

# Clients ask each time whether the file has changed.
CHECK_EACH_TIME = "no-cache"


@dataclass(frozen=True)
class Asset:
    """A file that the gateway serves as it is, also compressed with gzip."""

    body: bytes
    compressed: bytes
    content_type: str
    etag: str

    @classmethod
    def of(cls, body: bytes, content_type: str) -> "Asset":
        """Return the asset with this content."""
        # Without the time, so that all gateways send the same bytes.
        compressed = gzip.compress(body, mtime=0)
        return cls(body, compressed, content_type, hashlib.sha256(body).hexdigest()[:32])

    def answer(self, request: web.Request, cache_control: str) -> web.Response:
        """Return the file, or 304 if the client has it."""
        headers = {hdrs.CACHE_CONTROL: cache_control, hdrs.VARY: hdrs.ACCEPT_ENCODING}
        known = request.if_none_match or ()
        if any(tag.value in (self.etag, "*") for tag in known):
            response = web.Response(status=304, headers=headers)
        elif _takes_gzip(request):
            headers |= {hdrs.CONTENT_TYPE: self.content_type, hdrs.CONTENT_ENCODING: "gzip"}
            response = web.Response(body=self.compressed, headers=headers)
        else:
            response = web.Response(body=self.body, headers={**headers, hdrs.CONTENT_TYPE: self.content_type})
        # Weak, because it is the same for both encodings.
        response.etag = ETag(self.etag, is_weak=True)
        return response


def _takes_gzip(request: web.Request) -> bool:
    accepted = request.headers.get(hdrs.ACCEPT_ENCODING, "").lower().replace(" ", "").split(",")
    qualities = dict(part.partition(";q=")[::2] for part in accepted)
    return qualities.get("gzip", "0") not in ("0", "0.0", "0.00", "0.000")
