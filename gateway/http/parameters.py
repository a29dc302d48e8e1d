"""What a request says, checked: ids, names, tags, and how a search or a finetune is wanted."""

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
# Control characters, lone surrogates, line and paragraph separators.
UNWANTED = ("Cc", "Cs", "Zl", "Zp")
# With all the digits that a program writes: 0.57 * 100 is 56.99999999999999.
NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?", re.ASCII)
WHOLE_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def collection_id(text: str) -> int:
    """The id in a path. Raises InvalidRequest, collection_not_found: what can be no id names no collection."""
    if not COLLECTION_ID.fullmatch(text) or int(text) > MAX_ID:
        raise not_found(text[:40])
    return int(text)


def name(body: JsonObject, limit: int) -> str:
    """A collection's name, kept exactly as it was sent. Raises InvalidRequest, invalid_name."""
    value = body.get("name")
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequest("The collection needs a name.", code="invalid_name")
    if len(value) > limit:
        raise InvalidRequest(f"The name has more than {limit} characters.", code="invalid_name")
    if _has_unwanted(value):
        raise InvalidRequest("The name has characters that cannot be shown.", code="invalid_name")
    return value


def heidicon_tag(body: JsonObject) -> str | None:
    """The display name or id of a tag; None where there is none. Raises InvalidRequest, invalid_heidicon_tag."""
    value = body.get("heidicon_tag")
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > MAX_TAG_CHARACTERS or _has_unwanted(value):
        raise InvalidRequest("The field heidicon_tag is not the name or id of a tag.", code="invalid_heidicon_tag")
    return value.strip() or None


def search_request(image: bytes, body: JsonObject, query: Mapping[str, str]) -> SearchRequest:
    """A search for an image, with its parameters from the body or else from the query.

    Raises InvalidRequest: image_missing, invalid_num_results, invalid_threshold.
    """
    if not image:
        raise InvalidRequest("There is no image.", code="image_missing")
    limit = _chosen("num_results", body, query)
    threshold = _chosen("threshold", body, query)
    return SearchRequest(
        image,
        limit=DEFAULT_RESULTS if limit is None else _num_results(limit),
        threshold=None if threshold is None else _threshold(threshold),
    )


def whole_number(query: Mapping[str, str], name: str, default: int, *, least: int = 1, most: int = MAX_ID) -> int:
    """A parameter that is a whole number from `least` to `most`. Raises InvalidRequest, invalid_NAME."""
    text = query.get(name, str(default))
    if not WHOLE_NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise InvalidRequest(f"The parameter {name} is a whole number from {least} to {most}.", code=f"invalid_{name}")
    return int(text)


def truth(query: Mapping[str, str], name: str) -> bool:
    """A parameter that is true or false, and false where it is not given. Raises InvalidRequest, invalid_NAME."""
    value = TRUTHS.get(query.get(name, "false").lower())
    if value is None:
        raise InvalidRequest(f"The parameter {name} is true or false.", code=f"invalid_{name}")
    return value


def _chosen(field: str, body: JsonObject, query: Mapping[str, str]) -> object:
    value = body.get(field)
    if value is not None or field not in query:
        return value
    text = query[field]
    if not NUMBER.fullmatch(text):
        raise InvalidRequest(f"The parameter {field} is not a number.", code=f"invalid_{field}")
    return float(text) if "." in text else int(text)


def _num_results(value: object) -> int:
    number = _number(value)
    if number is None or number % 1 or not 1 <= number <= MAX_RESULTS:
        message = f"num_results is a whole number from 1 to {MAX_RESULTS}."
        raise InvalidRequest(message, code="invalid_num_results")
    return int(number)


def _threshold(value: object) -> float:
    number = _number(value)
    if number is None or not 0 <= number <= 100:
        raise InvalidRequest("threshold is a percentage from 0 to 100.", code="invalid_threshold")
    return number / 100


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _has_unwanted(text: str) -> bool:
    return any(unicodedata.category(character) in UNWANTED for character in text)
