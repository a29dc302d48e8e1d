"""The answers of an EasyDB instance. The fields that we use are checked strictly, all others are ignored."""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from servicekit.errors import InvalidRequest, UpstreamFailed

T = TypeVar("T")
# Of tags with names that are similar to the one that was asked for.
SHOWN_NAMES, MAX_COMPARED_NAMES = 3, 2000


@dataclass(frozen=True)
class ObjectPage:
    """One page of a search. total: the number of objects in all pages. objects: id and image URLs of each object."""

    total: int
    objects: list[tuple[int, list[str]]]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Session(_Answer):
    token: str = Field(min_length=1)


class _Tag(_Answer):
    id: int = Field(alias="_id")
    # By language. A language without a name can have null.
    displayname: dict[str, object] | None = None


class _TagNode(_Answer):
    """A tag, or a group with child nodes."""

    basetype: str | None = Field(None, alias="_basetype")
    tag: _Tag | None = None
    children: "list[_TagNode] | None" = Field(None, alias="_tags")

    @model_validator(mode="after")
    def _has_a_tag_unless_it_is_a_group(self) -> "_TagNode":
        if self.tag is None and self.basetype != "taggroup":
            raise PydanticCustomError("missing_tag", "Field tag required")
        return self


class _Version(_Answer):
    """An asset's file in one size."""

    status: str | None = None
    download_url: str | None = None
    not_allowed: bool | None = Field(None, alias="_not_allowed")
    download_allowed: bool | None = Field(None, alias="_download_allowed")

    @property
    def is_usable(self) -> bool:
        return self.status == "done" and not self.not_allowed and self.download_allowed is not False


class _Versions(_Answer):
    full: _Version | None = None
    huge: _Version | None = None
    small: _Version | None = None


class _Asset(_Answer):
    versions: _Versions | None = None


class _Resources(_Answer):
    asset: list[_Asset] | None = None


class _Object(_Answer):
    id: int = Field(alias="_system_object_id")
    resources: _Resources | None = Field(None, alias="ressourcen")


class _Page(_Answer):
    count: NonNegativeInt
    objects: list[_Object]


_SESSION = TypeAdapter(_Session)
_TAGS = TypeAdapter(list[_TagNode])
_PAGE = TypeAdapter(_Page)


def bad_answer(problem: str) -> UpstreamFailed:
    """Return the error for an answer that does not have the form that we expect."""
    return UpstreamFailed(f"HeidICON returned an unexpected response: {problem}.", code="heidicon_bad_answer")


def parse_session(body: bytes) -> str:
    """Return the token of a new session. Raises UpstreamFailed, heidicon_bad_answer."""
    return _parse(_SESSION, "/api/session", body).token


def parse_tags(body: bytes) -> dict[int, set[str]]:
    """Return the display names of each tag by its id. Raises UpstreamFailed, heidicon_bad_answer."""
    return {tag.id: _display_names(tag) for tag in _tags(_parse(_TAGS, "/api/tags", body))}


def find_tags(tags: Mapping[int, set[str]], wanted: str) -> list[int]:
    """Return the id of the tag that has the id `wanted`, or else of each that has this display name in any language.

    They have HeidICON's order. Names may differ in white space and in how accents are written. Raises InvalidRequest,
    heidicon_tag_unknown, if there is none.
    """
    found = [identifier for identifier in tags if str(identifier) == wanted]
    found = found or [identifier for identifier, names in tags.items() if wanted in names]
    found = found or [
        identifier for identifier, names in tags.items() if _composed(wanted) in {_composed(name) for name in names}
    ]
    if not found:
        message = f"HeidICON has no tag “{wanted}”.{_similar(tags, wanted)}"
        raise InvalidRequest(message, code="heidicon_tag_unknown")
    return found


def _composed(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split())


def _similar(tags: Mapping[int, set[str]], wanted: str) -> str:
    """Return a sentence about the tags with the most similar names, after a space; nothing if none is similar."""
    names = {_composed(name).casefold(): _composed(name) for several in tags.values() for name in several}
    # A search through more names would hold up other requests.
    if len(names) > MAX_COMPARED_NAMES:
        return ""
    close = get_close_matches(_composed(wanted).casefold(), names, n=SHOWN_NAMES)
    return f" Similar ones: {', '.join(f'“{names[name]}”' for name in close)}." if close else ""


def parse_page(body: bytes, limit: int, is_image_url: Callable[[str], bool]) -> ObjectPage:
    """Return a page of at most `limit` objects. Raises UpstreamFailed, heidicon_bad_answer.

    is_image_url: whether a text is valid as the image URL of a row.
    """
    page = _parse(_PAGE, "/api/search", body)
    if len(page.objects) > limit:
        raise bad_answer(f"/api/search, {len(page.objects)} objects, but {limit} were requested")
    return ObjectPage(page.count, [(entry.id, list(_image_urls(entry, is_image_url))) for entry in page.objects])


def _parse(adapter: TypeAdapter[T], path: str, body: bytes) -> T:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise bad_answer(f"{path}, {field}: {first['msg']}" if field else f"{path}: {first['msg']}") from None


def _tags(nodes: list[_TagNode]) -> Iterator[_Tag]:
    for node in nodes:
        if node.tag is not None and node.basetype != "taggroup":
            yield node.tag
        yield from _tags(node.children or [])


def _display_names(tag: _Tag) -> set[str]:
    return {name for name in (tag.displayname or {}).values() if isinstance(name, str)}


def _image_urls(entry: _Object, is_image_url: Callable[[str], bool]) -> Iterator[str]:
    for asset in (entry.resources and entry.resources.asset) or ():
        version = _best_version(asset)
        if version is None:
            continue
        if version.download_url is None or not is_image_url(version.download_url):
            raise bad_answer(f"/api/search, object {entry.id}: download_url is not an http(s) URL")
        yield version.download_url


def _best_version(asset: _Asset) -> _Version | None:
    if asset.versions is None:
        return None
    versions = (asset.versions.full, asset.versions.huge, asset.versions.small)
    return next((version for version in versions if version is not None and version.is_usable), None)
