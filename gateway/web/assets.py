"""The files of the web page, read and compressed once."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ETag, hdrs, web

SITE = Path(__file__).parent / "site"
INDEX = "index.html"
# What stands in index.html in place of the version of the files.
VERSION_MARK = b"{version}"
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file, also compressed with gzip."""

    body: bytes
    compressed: bytes
    content_type: str
    etag: str

    @classmethod
    def of(cls, body: bytes, suffix: str) -> "Asset":
        """Return the asset with this content. suffix: of the file's name, with the dot."""
        # Without the time, so that all gateways send the same bytes.
        compressed = gzip.compress(body, mtime=0)
        return cls(body, compressed, CONTENT_TYPES[suffix], hashlib.sha256(body).hexdigest()[:32])

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


@dataclass(frozen=True)
class Site:
    """All files of the page. version: changes when any of them does."""

    index: Asset
    assets: dict[str, Asset]
    version: str

    @classmethod
    def load(cls, folder: Path = SITE) -> "Site":
        """Read the files of a folder. Those of a type that the page does not use are left out."""
        paths = sorted(path for path in folder.rglob("*") if path.suffix in CONTENT_TYPES)
        bodies = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        digest = hashlib.sha256()
        for name, body in bodies.items():
            digest.update(f"{name}\0{len(body)}\0".encode() + body)
        version = digest.hexdigest()[:16]
        index = bodies.pop(INDEX).replace(VERSION_MARK, version.encode())
        assets = {name: Asset.of(body, Path(name).suffix) for name, body in bodies.items()}
        return cls(Asset.of(index, ".html"), assets, version)


def _takes_gzip(request: web.Request) -> bool:
    accepted = request.headers.get(hdrs.ACCEPT_ENCODING, "").lower().replace(" ", "").split(",")
    qualities = dict(part.partition(";q=")[::2] for part in accepted)
    return qualities.get("gzip", "0") not in ("0", "0.0", "0.00", "0.000")
