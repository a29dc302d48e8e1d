"""Parse JSON objects strictly. Apart from `body.py`, because content processes must not wait for aiohttp's import."""

import json
from typing import Never

from servicekit.errors import InvalidRequest

JsonObject = dict[str, object]

# The byte order marks of other encodings. Without one, every other byte of theirs is NUL.
OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff")
KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


def parse_object(data: bytes) -> JsonObject:
    """Parse a JSON object in UTF-8; no text is an empty object. Raises InvalidRequest, invalid_json."""
    if not data.strip():
        return {}
    try:
        found = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        if b"\0" in data[:2]:
            raise _not_an_object("it is UTF-16 or UTF-32") from None
        raise _not_an_object(f"it is not valid JSON at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        encoding = "it is UTF-16 or UTF-32" if data.startswith(OTHER_MARKS) else "it is not valid UTF-8"
        raise _not_an_object(encoding) from None
    except RecursionError:
        raise _not_an_object("it is nested too deeply") from None
    except _Constant as error:
        raise _not_an_object(f"it has {error}, which is not JSON") from None
    except ValueError:
        raise _not_an_object("a number in it has too many digits") from None
    if not isinstance(found, dict):
        raise _not_an_object(f"it is {kind_of(found)}")
    return found


def kind_of(value: object) -> str:
    """Return what JSON calls a value, with its article, such as "a list"."""
    return KINDS.get(type(value), "null")


def _not_an_object(problem: str) -> InvalidRequest:
    return InvalidRequest(f"The body must be a JSON object in UTF-8, but {problem}.", code="invalid_json")


class _Constant(ValueError):
    """Python reads NaN and Infinity, but JSON has neither."""


def _refuse_constant(name: str) -> Never:
    raise _Constant(name)
