"""JSON objects as clients send them: strict, in UTF-8."""

import json
from typing import Never

from servicekit.errors import InvalidRequest

JsonObject = dict[str, object]


def parse_object(data: bytes) -> JsonObject:
    """A JSON object; nothing is an empty one. Raises InvalidRequest, invalid_json."""
    if not data.strip():
        return {}
    try:
        found = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not JSON in UTF-8.", code="invalid_json") from None
    if not isinstance(found, dict):
        raise InvalidRequest("The body is not a JSON object.", code="invalid_json")
    return found


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")
