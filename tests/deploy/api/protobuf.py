"""Decode a Secret from protobuf, in which helm sends the records of its releases.

The fields are those of k8s.io/api/core/v1/generated.proto and of apimachinery's runtime.Unknown.
"""

import base64
from collections.abc import Iterator

from tests.deploy.api.objects import Object

MAGIC = b"k8s\x00"
# Unknown.raw; Secret.metadata, .data, .type; ObjectMeta.name, .namespace, .labels; key and value of a map's entry.
RAW = 2
METADATA, DATA, TYPE = 1, 2, 3
NAME, NAMESPACE, LABELS = 1, 3, 11
KEY, VALUE = 1, 2
LENGTH_DELIMITED = 2


def read_secret(body: bytes) -> Object:
    """Return the Secret in a request's body. Raises ValueError if the body is not protobuf."""
    if not body.startswith(MAGIC):
        raise ValueError("not Kubernetes' protobuf")
    fields = list(_fields(dict(_fields(body[len(MAGIC) :]))[RAW]))
    metadata = list(_fields(dict(fields)[METADATA]))
    named = dict(metadata)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": named[NAME].decode(),
            "namespace": named.get(NAMESPACE, b"").decode(),
            "labels": {key.decode(): value.decode() for key, value in _map(metadata, LABELS)},
        },
        "data": {key.decode(): base64.b64encode(value).decode("ascii") for key, value in _map(fields, DATA)},
        "type": dict(fields).get(TYPE, b"Opaque").decode(),
    }


def _map(fields: list[tuple[int, bytes]], number: int) -> Iterator[tuple[bytes, bytes]]:
    for found, content in fields:
        if found == number:
            entry = dict(_fields(content))
            yield entry[KEY], entry.get(VALUE, b"")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each length-delimited field. Other fields are skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value, at = _varint(message, at)
        if tag & 7 == LENGTH_DELIMITED:
            yield tag >> 3, message[at : at + value]
            at += value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
