"""Values of a IIIF document, whatever form they have. Properties of version 2 begin with "@", those of 3 do not."""

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias, cast

Resource: TypeAlias = Mapping[str, object]
# Languages of a label, if it has several: the first of these, or else the first one given.
NO_LANGUAGE = ("none", "@none")
PREFIX = re.compile(r".*[:#/]", re.DOTALL)


def resource(value: object) -> Resource:
    """Return a JSON object, and an empty one for any other value."""
    return cast("Resource", value) if isinstance(value, dict) else {}


def items(value: object) -> Iterator[object]:
    """Return the members of a list, or a single value as if it were in one."""
    if isinstance(value, list):
        yield from value
    elif value is not None:
        yield value


def resources(value: object) -> Iterator[Resource]:
    """Return the objects in a list, or a single object."""
    return (resource(item) for item in items(value) if isinstance(item, dict))


def identifier(value: object) -> str | None:
    """Return the id of an object, or a text that is one."""
    if isinstance(value, str):
        return value
    found = resource(value)
    return string(found.get("id")) or string(found.get("@id"))


def kind(value: object) -> str:
    """Return the type of an object without its prefix or address, such as `Manifest` for `sc:Manifest`."""
    found = resource(value)
    name = next((text for text in (*items(found.get("type")), *items(found.get("@type"))) if isinstance(text, str)), "")
    return PREFIX.sub("", name)


def string(value: object) -> str | None:
    """Return a text that is not empty; None for any other value."""
    return value if isinstance(value, str) and value.strip() else None


def words(value: object) -> str | None:
    """Return a text that is not empty, or a number as one; None for any other value."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:g}"
    return string(value)


def number(value: object) -> int | None:
    """Return a positive whole number, which may be written as a text; None for any other value."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value) or None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        return None
    return int(value)


def text(value: object) -> str | None:
    """Return a text in one language (Presentation 3, 4.1: language maps; Presentation 2, 4.3: language of values)."""
    if isinstance(value, dict) and not {"@value", "value"} & set(value):
        return _joined(_of_one_language(cast("Resource", value)))
    languages: dict[str, list[str]] = {}
    for item in items(value):
        found = resource(item)
        entry = words(item) or words(found.get("@value")) or words(found.get("value"))
        if entry:
            languages.setdefault(string(found.get("@language")) or "none", []).append(entry)
    return _joined(_of_one_language(languages))


def _of_one_language(languages: Mapping[str, object]) -> object:
    for name in NO_LANGUAGE:
        if languages.get(name):
            return languages[name]
    return next((found for found in languages.values() if found), None)


def _joined(value: object) -> str | None:
    return "; ".join(entry for item in items(value) if (entry := words(item))) or None
