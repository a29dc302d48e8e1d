"""Check the parameters of requests: ids, names, tags, and the options of searches and finetunes."""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping

from catalog import index_history
from catalog.collections import not_found
from gateway.http.json_object import JsonObject
from gateway.search.service import SearchRequest
from servicekit.errors import InvalidRequest

ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
MAX_ID = 2**63 - 1
DEFAULT_RESULTS = 5
MAX_RESULTS = 1000
MAX_TAG_CHARACTERS = 200
# Unicode categories: control characters, lone surrogates, line and paragraph separators.
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
# Programs write many digits: in floating point, 0.57 * 100 is 56.99999999999999.
NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,20})?", re.ASCII)
WHOLE_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
SEARCH_OPTIONS = ("num_results", "threshold", "min_percentile", "max_false_match_rate")
# Some clients add this one so that no cache answers.
CACHE_BUSTER = "_"
# How much of what a client sent a message repeats.
SHOWN_CHARACTERS, SHOWN_NAMES = 40, 10


def collection_id(text: str) -> int:
    """Return the id in a path. Raises InvalidRequest, collection_not_found, also for text that is not an id."""
    if not ID.fullmatch(text) or int(text) > MAX_ID:
        message = f"{_shown(text)} is not the id of a collection. GET /api/collection/list returns the ids."
        raise InvalidRequest(message, code=not_found(text).code)
    return int(text)


def index_id(text: str) -> int:
    """Return the id of an index in a path. Raises InvalidRequest, index_not_found, also for text that is not an id."""
    if not ID.fullmatch(text) or int(text) > MAX_ID:
        raise index_history.not_found(text[:40])
    return int(text)


def name(body: JsonObject, limit: int) -> str:
    """Return a collection's name, exactly as it was sent. Raises InvalidRequest, invalid_name."""
    value = body.get("name")
    if value is None:
        raise _invalid("name", "is missing. Send it as a field of a JSON object")
    if not isinstance(value, str):
        raise _invalid("name", f"must be a string, not {_shown(value)}")
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
        raise _invalid("heidicon_tag", f"must be the name or the id of a tag, not {_shown(value)}")
    if len(value) > MAX_TAG_CHARACTERS:
        raise _invalid("heidicon_tag", f"must have at most {MAX_TAG_CHARACTERS} characters")
    if _has_unprintable(value):
        raise _invalid("heidicon_tag", "must not contain control characters or line breaks")
    return value.strip() or None


def search_request(image: bytes, body: JsonObject, query: Mapping[str, str]) -> SearchRequest:
    """Return a search for an image. Its options come from the body, or else from the query.

    Raises InvalidRequest: image_missing, invalid_num_results, invalid_threshold, invalid_min_percentile,
    invalid_max_false_match_rate.
    """
    if not image:
        raise InvalidRequest("image is missing. Send it as base64 or as a data URL.", code="image_missing")
    limit = _option("num_results", body, query)
    threshold = _number_option("threshold", body, query, most=100)
    return SearchRequest(
        image,
        limit=DEFAULT_RESULTS if limit is None else _num_results(limit),
        threshold=None if threshold is None else threshold / 100,
        min_percentile=_number_option("min_percentile", body, query, most=100),
        max_false_match_rate=_number_option("max_false_match_rate", body, query, most=1),
    )


def search_warnings(body: JsonObject, query: Mapping[str, str]) -> list[str]:
    """Return sentences about the fields and query parameters of a search that have no meaning."""
    return unknown_fields(body, ("image", *SEARCH_OPTIONS)) + unknown_parameters(query, SEARCH_OPTIONS)


def unknown_fields(body: Iterable[str], known: Collection[str] = ()) -> list[str]:
    """Return a sentence about the fields of a JSON body that have no meaning, if there are any."""
    return _unknown("field", "fields", body, known)


def unknown_parameters(query: Iterable[str], known: Collection[str] = ()) -> list[str]:
    """Return a sentence about the query parameters that have no meaning, if there are any."""
    names = (name for name in query if name != CACHE_BUSTER)
    return _unknown("query parameter", "query parameters", names, known)


def whole_number(query: Mapping[str, str], name: str, default: int, *, least: int = 1, most: int = MAX_ID) -> int:
    """Return a query parameter between `least` and `most`. Raises InvalidRequest, invalid_<name>."""
    text = query.get(name, str(default))
    if not WHOLE_NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise _invalid(name, f"must be a whole number between {least} and {most}, not {_shown(text)}")
    return int(text)


def boolean(query: Mapping[str, str], name: str) -> bool:
    """Return a query parameter that is true or false; false if it is missing. Raises InvalidRequest, invalid_<name>."""
    text = query.get(name, "false")
    value = BOOLEANS.get(text.lower())
    if value is None:
        raise _invalid(name, f"must be true or false, not {_shown(text)}")
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
        raise _invalid("num_results", f"must be a whole number between 1 and {MAX_RESULTS}, not {_shown(value)}")
    return int(number)


def _number_option(name: str, body: JsonObject, query: Mapping[str, str], *, most: int) -> float | None:
    """Return an option between 0 and `most`; None if it is missing. Raises InvalidRequest, invalid_<name>."""
    value = _option(name, body, query)
    if value is None:
        return None
    number = _number(value)
    if number is None or not 0 <= number <= most:
        raise _invalid(name, f"must be a number between 0 and {most}, not {_shown(value)}")
    return number


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _unknown(one: str, several: str, names: Iterable[str], known: Collection[str]) -> list[str]:
    found = list(dict.fromkeys(name for name in names if name not in known))
    if not found:
        return []
    listed = ", ".join(_shown(name) for name in found[:SHOWN_NAMES]) + (", …" if len(found) > SHOWN_NAMES else "")
    subject = f"The {one} {listed} is" if len(found) == 1 else f"The {several} {listed} are"
    allowed = f"Known: {', '.join(known)}." if known else f"There are no {several} here."
    return [f"{subject} unknown and ignored. {allowed}"]


def _shown(value: object) -> str:
    """Return a value as JSON writes it, shortened, to show a client what it sent."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        # More digits than Python turns into text, or nested too deeply.
        text = "this value"
    text = "".join("�" if unicodedata.category(character) in UNPRINTABLE else character for character in text)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _has_unprintable(text: str) -> bool:
    return any(unicodedata.category(character) in UNPRINTABLE for character in text)


def _invalid(name: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{name} {problem}.", code=f"invalid_{name}")
