"""Parse JSON objects strictly. Apart from `body.py`, because content processes must not wait for aiohttp's import."""

import json
from typing import Never

from servicekit.errors import InvalidRequest

JsonObject = dict[str, object]


def parse_object(data: bytes) -> JsonObject:
    """Parse a JSON object in UTF-8; no text is an empty object. Raises InvalidRequest, invalid_json."""
    if not data.strip():
        return {}
    try:
        found = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body must be valid JSON in UTF-8.", code="invalid_json") from None
    if not isinstance(found, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    return found


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")
