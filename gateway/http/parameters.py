"""Check the parameters of requests: ids, names, tags, and the options of searches and finetunes."""

import re
import unicodedata
from collections.abc import Mapping

from catalog.collections import not_found
from gateway.http.json_object import JsonObject
from gateway.search.service import SearchRequest
from servicekit.errors import InvalidRequest

COLLECTION_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
MAX_ID = 2**63 - 1
DEFAULT_RESULTS = 5
MAX_RESULTS = 1000
MAX_TAG_CHARACTERS = 200
# Unicode categories: control characters, lone surrogates, line and paragraph separators.
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
# Programs write many digits: in floating point, 0.57 * 100 is 56.99999999999999.
NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?", re.ASCII)
WHOLE_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def collection_id(text: str) -> int:
    """Return the id in a path. Raises InvalidRequest, collection_not_found, also for text that is not an id."""
    if not COLLECTION_ID.fullmatch(text) or int(text) > MAX_ID:
        raise not_found(text[:40])
    return int(text)


def name(body: JsonObject, limit: int) -> str:
    """Return a collection's name, exactly as it was sent. Raises InvalidRequest, invalid_name."""
    value = body.get("name")
    if value is None:
        raise _invalid("name", "is missing. Send it as a field of a JSON object")
    if not isinstance(value, str):
        raise _invalid("name", "must be a string")
    if not value.strip():
        raise _invalid("name", "must not be empty")
    if len(value) > limit:
        raise _invalid("name", f"must have at most {limit} characters")
    if _has_unprintable(value):
        raise _invalid("name", "must not contain control characters or line breaks")
    return value


def heidicon_tag(body: JsonObject) -> str | None:
    """Return the display name or id of a tag; None: there is none. Raises InvalidRequest, invalid_heidicon_tag."""
    value = body.get("heidicon_tag")
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise _invalid("heidicon_tag", "must be the name or the id of a tag")
    if len(value) > MAX_TAG_CHARACTERS:
        raise _invalid("heidicon_tag", f"must have at most {MAX_TAG_CHARACTERS} characters")
    if _has_unprintable(value):
        raise _invalid("heidicon_tag", "must not contain control characters or line breaks")
    return value.strip() or None


def search_request(image: bytes, body: JsonObject, query: Mapping[str, str]) -> SearchRequest:
    """Return a search for an image. Its options come from the body, or else from the query.

    Raises InvalidRequest: image_missing, invalid_num_results, invalid_threshold.
    """
    if not image:
        raise InvalidRequest("image is missing. Send it as base64 or as a data URL.", code="image_missing")
    limit = _option("num_results", body, query)
    threshold = _option("threshold", body, query)
    return SearchRequest(
        image,
        limit=DEFAULT_RESULTS if limit is None else _num_results(limit),
        threshold=None if threshold is None else _threshold(threshold),
    )


def whole_number(query: Mapping[str, str], name: str, default: int, *, least: int = 1, most: int = MAX_ID) -> int:
    """Return a query parameter between `least` and `most`. Raises InvalidRequest, invalid_<name>."""
    text = query.get(name, str(default))
    if not WHOLE_NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise _invalid(name, f"must be a whole number between {least} and {most}")
    return int(text)


def boolean(query: Mapping[str, str], name: str) -> bool:
    """Return a query parameter that is true or false; false if it is missing. Raises InvalidRequest, invalid_<name>."""
    value = BOOLEANS.get(query.get(name, "false").lower())
    if value is None:
        raise _invalid(name, "must be true or false")
    return value


def _option(field: str, body: JsonObject, query: Mapping[str, str]) -> object:
    value = body.get(field)
    if value is not None:
        return value
    text = query.get(field)
    if text is None or not NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)


def _num_results(value: object) -> int:
    number = _number(value)
    if number is None or number % 1 or not 1 <= number <= MAX_RESULTS:
        raise _invalid("num_results", f"must be a whole number between 1 and {MAX_RESULTS}")
    return int(number)


def _threshold(value: object) -> float:
    number = _number(value)
    if number is None or not 0 <= number <= 100:
        raise _invalid("threshold", "must be a number between 0 and 100")
    return number / 100


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _has_unprintable(text: str) -> bool:
    return any(unicodedata.category(character) in UNPRINTABLE for character in text)


def _invalid(name: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{name} {problem}.", code=f"invalid_{name}")
