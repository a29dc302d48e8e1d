"""The HTTP requests of searches, as bytes."""

import base64
import json
from collections.abc import Sequence

JSON, JPEG = "application/json", "image/jpeg"


def by_image(host: str, collection: int, image: bytes) -> bytes:
    """Return a search by an image in JSON."""
    return _post(host, f"/api/collection/{collection}/search", JSON, _encoded({"image": _base64(image)}))


def by_file(host: str, collection: int, image: bytes) -> bytes:
    """Return a search whose body is the image itself."""
    return _post(host, f"/api/collection/{collection}/search", JPEG, image)


def by_id(host: str, collection: int, image_id: int) -> bytes:
    """Return a search by the id of an indexed image."""
    return f"GET /api/collection/{collection}/similar?image_id={image_id} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def across(host: str, collections: Sequence[int], image: bytes) -> bytes:
    """Return a search over several collections, by an image in JSON."""
    return _post(host, "/api/search", JSON, _encoded({"image": _base64(image), "collections": list(collections)}))


def in_turns(host: str, collections: Sequence[int], images: Sequence[bytes]) -> list[bytes]:
    """Return searches by an image in JSON, of which each goes to the next collection. Each image meets each of them."""
    return [
        by_image(host, collections[(place + turn) % len(collections)], image)
        for turn in range(len(collections))
        for place, image in enumerate(images)
    ]


def _base64(image: bytes) -> str:
    return base64.b64encode(image).decode()


def _encoded(body: dict[str, object]) -> bytes:
    return json.dumps(body).encode()


def _post(host: str, path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
