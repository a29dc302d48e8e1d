"""Check the parameters of requests: ids, names, tags, and the options of finetunes and lists."""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence

from catalog import index_history
from catalog.collections import not_found
from catalog.content import image_states
from catalog.content.image_states import ImageState
from gateway.http.json_object import JsonObject
from servicekit.errors import InvalidRequest

ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
MAX_ID = 2**63 - 1
MAX_TAG_CHARACTERS = 200
# Unicode categories: control characters, lone surrogates, line and paragraph separators.
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
WHOLE_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
# Some clients add this one so that no cache answers.
CACHE_BUSTER = "_"
# How much of what a client sent a message repeats.
SHOWN_CHARACTERS, SHOWN_NAMES = 40, 10


def collection_id(text: str) -> int:
    """Return the id in a path. Raises InvalidRequest, collection_not_found, also for text that is not an id."""
    if not ID.fullmatch(text) or int(text) > MAX_ID:
        message = f"{shown(text)} is not the id of a collection. GET /api/collection/list returns the ids."
        raise InvalidRequest(message, code=not_found(text).code)
    return int(text)


def index_id(text: str) -> int:
    """Return the id of an index in a path. Raises InvalidRequest, index_not_found, also for text that is not an id."""
    if not ID.fullmatch(text) or int(text) > MAX_ID:
        raise index_history.not_found(text[:40])
    return int(text)


def image_id(text: str) -> int:
    """Return the id of an image in a path. Raises InvalidRequest, image_not_found, also for text that is not an id."""
    if not ID.fullmatch(text) or int(text) > MAX_ID:
        raise image_states.not_found([shown(text)])
    return int(text)


def image_state(query: Mapping[str, str]) -> ImageState | None:
    """Return the state that is asked for; None: all. Raises InvalidRequest, invalid_state."""
    text = query.get("state")
    if text is None:
        return None
    if text not in tuple(ImageState):
        raise _invalid("state", f"must be one of {', '.join(ImageState)}, not {shown(text)}")
    return ImageState(text)


def image_ids(body: JsonObject, limit: int) -> list[int]:
    """Return the different ids in a list of 1 to `limit`, in order. Raises InvalidRequest, invalid_image_ids."""
    value = body.get("image_ids")
    if value is None:
        raise _invalid("image_ids", "is missing. Send a list of ids as a field of a JSON object")
    if not isinstance(value, list):
        raise _invalid("image_ids", f"must be a list of whole numbers, not {shown(value)}")
    if not 1 <= len(value) <= limit:
        raise _invalid("image_ids", f"must have between 1 and {limit} ids, not {len(value)}")
    if not all(map(is_id, value)):
        raise _invalid("image_ids", f"must have whole numbers from 1 only{wrong_member('image_ids', value)}")
    return list(dict.fromkeys(value))


def is_id(value: object) -> bool:
    """Return whether a value of a JSON object is the id of anything."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_ID


def wrong_member(name: str, value: object) -> str:
    """Return the end of a message about a list of ids: its first invalid member, or what is wrong with the list."""
    if not isinstance(value, list):
        return f", not {shown(value)}"
    wrong = next((place for place, one in enumerate(value) if not is_id(one)), None)
    return f", not {len(value)} of them" if wrong is None else f", but {name}[{wrong}] is {shown(value[wrong])}"


def name(body: JsonObject, limit: int) -> str:
    """Return a collection's name, exactly as it was sent. Raises InvalidRequest, invalid_name."""
    value = body.get("name")
    if value is None:
        raise _invalid("name", "is missing. Send it as a field of a JSON object")
    if not isinstance(value, str):
        raise _invalid("name", f"must be a string, not {shown(value)}")
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
        raise _invalid("heidicon_tag", f"must be the name or the id of a tag, not {shown(value)}")
    if len(value) > MAX_TAG_CHARACTERS:
        raise _invalid("heidicon_tag", f"must have at most {MAX_TAG_CHARACTERS} characters")
    if _has_unprintable(value):
        raise _invalid("heidicon_tag", "must not contain control characters or line breaks")
    return value.strip() or None


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
        raise _invalid(name, f"must be a whole number between {least} and {most}, not {shown(text)}")
    return int(text)


def boolean(query: Mapping[str, str], name: str) -> bool:
    """Return a query parameter that is true or false; false if it is missing. Raises InvalidRequest, invalid_<name>."""
    text = query.get(name, "false")
    value = BOOLEANS.get(text.lower())
    if value is None:
        raise _invalid(name, f"must be true or false, not {shown(text)}")
    return value


def choice(query: Mapping[str, str], name: str, allowed: Sequence[str]) -> str | None:
    """Return a query parameter that is one of a few; None if it is missing. Raises InvalidRequest, invalid_<name>."""
    value = query.get(name)
    if value is not None and value not in allowed:
        raise _invalid(name, f"must be {' or '.join(allowed)}, not {shown(value)}")
    return value


def shown(value: object) -> str:
    """Return a value as JSON writes it, shortened, to show a client what it sent."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        # More digits than Python turns into text, or nested too deeply.
        text = "this value"
    text = "".join("�" if unicodedata.category(character) in UNPRINTABLE else character for character in text)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _unknown(one: str, several: str, names: Iterable[str], known: Collection[str]) -> list[str]:
    found = list(dict.fromkeys(name for name in names if name not in known))
    if not found:
        return []
    listed = ", ".join(shown(name) for name in found[:SHOWN_NAMES]) + (", …" if len(found) > SHOWN_NAMES else "")
    subject = f"The {one} {listed} is" if len(found) == 1 else f"The {several} {listed} are"
    allowed = f"Known: {', '.join(known)}." if known else f"There are no {several} here."
    return [f"{subject} unknown and ignored. {allowed}"]


def _has_unprintable(text: str) -> bool:
    return any(unicodedata.category(character) in UNPRINTABLE for character in text)


def _invalid(name: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{name} {problem}.", code=f"invalid_{name}")
