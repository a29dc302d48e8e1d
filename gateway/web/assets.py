"""The files of the web page, read and compressed once."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gateway.http.asset import Asset

SITE = Path(__file__).parent / "site"
INDEX = "index.html"
# What stands in index.html in place of the version of the files, and of how pictures are shown.
VERSION_MARK = b"{version}"
PICTURES_MARK = b"{pictures}"
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Site:
    """All files of the page. version: changes when any of them does.

    serves_thumbnails: whether the page shows pictures through the gateway, instead of directly from their hosts.
    """

    index: Asset
    assets: dict[str, Asset]
    version: str
    serves_thumbnails: bool = False

    @classmethod
    def load(cls, folder: Path = SITE, *, serves_thumbnails: bool = False) -> "Site":
        """Read the files of a folder. Those of a type that the page does not use are left out."""
        paths = sorted(path for path in folder.rglob("*") if path.suffix in CONTENT_TYPES)
        bodies = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        digest = hashlib.sha256()
        for name, body in bodies.items():
            digest.update(f"{name}\0{len(body)}\0".encode() + body)
        version = digest.hexdigest()[:16]
        index = bodies.pop(INDEX).replace(VERSION_MARK, version.encode())
        index = index.replace(PICTURES_MARK, b"proxied" if serves_thumbnails else b"direct")
        assets = {name: Asset.of(body, CONTENT_TYPES[Path(name).suffix]) for name, body in bodies.items()}
        return cls(Asset.of(index, CONTENT_TYPES[".html"]), assets, version, serves_thumbnails)
