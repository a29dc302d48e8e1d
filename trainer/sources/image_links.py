"""Links of records: which lead to an image, and which to a page for people."""

import re
from collections.abc import Iterable

from trainer.sources.source_text import web_address

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".jp2", ".avif", ".heic")
OTHER_SUFFIXES = (
    *(".pdf", ".html", ".htm", ".xml", ".json", ".rdf", ".txt", ".doc", ".docx", ".xls", ".xlsx", ".zip", ".epub"),
    *(".mp3", ".wav", ".ogg", ".flac", ".mp4", ".webm", ".mov", ".avi", ".obj", ".glb", ".gltf", ".ply", ".svg"),
)
# An image request (IIIF Image API 3, 4): region, size, rotation, quality and format.
IMAGE_REQUEST = re.compile(r"/(?:full|square|pct:[\d.,]+|[\d,]+)/[^/]+/!?[\d.]+/\w+\.\w+$")


def is_image_link(url: str) -> bool:
    """Return whether the path of a URL says that it leads to an image."""
    path = re.split(r"[?#]", url, maxsplit=1)[0]
    return path.lower().endswith(IMAGE_SUFFIXES) or IMAGE_REQUEST.search(path) is not None


def may_be_image(url: str, media_type: str | None = None) -> bool:
    """Return whether a link that is described as one to an image may lead to one."""
    if media_type and not media_type.lower().startswith(("image/", "image", "jpeg", "jpg", "tif", "png")):
        return False
    path = re.split(r"[?#]", url, maxsplit=1)[0]
    return IMAGE_REQUEST.search(path) is not None or not path.lower().endswith(OTHER_SUFFIXES)


def addresses(texts: Iterable[str | None]) -> list[str]:
    """Return the texts that are http(s) URLs, each once."""
    return list(dict.fromkeys(url for text in texts if (url := web_address(text))))
