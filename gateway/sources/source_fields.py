"""The fields of a source, as clients send them. The address is only checked for its form: the trainer reads it."""

import re
from collections.abc import Mapping, Sequence
from typing import cast

from catalog.sources.sources import NewSource, Refresh, SourceType
from gateway.http.json_object import JsonObject
from gateway.http.parameters import shown
from servicekit.errors import InvalidRequest
from servicekit.request_url import MAX_URL_CHARACTERS, checked_url

# Each type's own fields, and what `views` may be: the first value is the default.
FIELDS: Mapping[SourceType, Sequence[str]] = {
    SourceType.IIIF: ("type", "url", "views"),
    SourceType.OAI: ("type", "url", "views", "metadata_prefix", "set", "from"),
}
VIEWS = {
    SourceType.IIIF: ("none", "manifest"),
    SourceType.OAI: ("record", "none"),
    SourceType.HEIDICON: ("record", "none"),
}
SCHEDULE = ("refresh", "then")
FINETUNE = "finetune"
# OAI-PMH 2.0, 2.4, 2.6 and 3.3: prefixes, sets and dates.
PREFIX = re.compile(r"[A-Za-z0-9\-_.!~*'()]{1,100}", re.ASCII)
SET = re.compile(r"[\x21-\x7e]{1,500}", re.ASCII)
DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?", re.ASCII)
# The pages of a book are no views of one object.
BOOKS = ("mets",)


def new_source(body: JsonObject) -> NewSource | None:
    """Return the source in the body of `create`; None if there is none. Raises InvalidRequest, invalid_source."""
    value = body.get("source")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid_source(f"must be an object, not {shown(value)}")
    fields = cast("JsonObject", value)
    kind = _type(fields)
    _refuse_unknown(fields, kind)
    prefix = _text(fields, "metadata_prefix", PREFIX, "the name of a format, such as lido")
    if kind is SourceType.OAI and prefix is None:
        raise invalid_source("needs metadata_prefix, the name of a format, such as lido")
    refresh, then_finetune = schedule(fields)
    return NewSource(
        type=kind,
        url=_url(fields),
        metadata_prefix=prefix,
        set_spec=_text(fields, "set", SET, "the name of a set"),
        from_date=_text(fields, "from", DATE, "a date such as 2026-01-31, or 2026-01-31T12:00:00Z"),
        views=_views(fields, kind, prefix),
        refresh=refresh,
        then_finetune=then_finetune,
    )


def schedule(fields: JsonObject) -> tuple[Refresh | None, bool]:
    """Return how often the source is read, and whether it is finetuned then. Raises InvalidRequest, invalid_source."""
    refresh, then = fields.get("refresh"), fields.get("then")
    if refresh is not None and refresh not in tuple(Refresh):
        raise invalid_source(f"has refresh {shown(refresh)}. It must be {' or '.join(Refresh)}")
    if then is not None and then != FINETUNE:
        raise invalid_source(f"has then {shown(then)}. It must be {FINETUNE}")
    return None if refresh is None else Refresh(cast("str", refresh)), then is not None


def invalid_source(problem: str) -> InvalidRequest:
    """Return the error for a source. problem: completes the sentence that begins with "source"."""
    return InvalidRequest(f"source {problem}.", code="invalid_source")


def _type(fields: JsonObject) -> SourceType:
    value = fields.get("type")
    if not isinstance(value, str) or value not in FIELDS:
        found = "is missing" if value is None else f"is {shown(value)}"
        raise invalid_source(f"needs a type, {' or '.join(FIELDS)}, but it {found}")
    return SourceType(value)


def _refuse_unknown(fields: JsonObject, kind: SourceType) -> None:
    known = (*FIELDS[kind], *SCHEDULE)
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise invalid_source(f"of type {kind} has no field {shown(unknown[0])}. Its fields are {', '.join(known)}")


def _url(fields: JsonObject) -> str:
    value = fields.get("url")
    if not isinstance(value, str):
        found = "it is missing" if value is None else f"found {shown(value)}"
        raise invalid_source(f"needs a url, an http(s) address, but {found}")
    url = value.strip()
    try:
        address = checked_url(url)
    except ValueError as error:
        raise invalid_source(f"has an invalid url: {error}") from None
    # Everyone who may read a collection sees it.
    if address.raw_user is not None or address.raw_password is not None:
        raise invalid_source("has a url with a user name or password, which is not supported")
    if len(url) > MAX_URL_CHARACTERS or not url.isprintable():
        raise invalid_source("has a url that is too long, or has control characters")
    return url.partition("#")[0]


def _text(fields: JsonObject, name: str, allowed: re.Pattern[str], expected: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not allowed.fullmatch(value):
        raise invalid_source(f"has {name} {shown(value)}. It must be {expected}")
    return value


def _views(fields: JsonObject, kind: SourceType, prefix: str | None) -> bool:
    value = fields.get("views")
    if value is None:
        return kind is SourceType.OAI and (prefix or "").lower() not in BOOKS
    if value not in VIEWS[kind]:
        raise invalid_source(f"has views {shown(value)}. It must be {' or '.join(VIEWS[kind])}")
    return value != "none"
