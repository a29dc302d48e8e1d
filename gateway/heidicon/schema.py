"""What an EasyDB instance answers, made into what we keep: tags, objects, and the image of each asset."""

from collections.abc import Iterator
from dataclasses import dataclass

from servicekit.errors import InvalidRequest, UpstreamFailed

# The first that may be had is the one that is used.
VERSIONS = ("full", "huge", "small")

Json = dict[str, object]


@dataclass(frozen=True)
class ObjectPage:
    """One page of a search. total: how many objects the instance says that there are."""

    total: int
    objects: list[tuple[int, list[str]]]


def nonsense(what: str) -> UpstreamFailed:
    """The refusal of an answer that is not what the API promises."""
    return UpstreamFailed(f"HeidICON answered with something unexpected: {what}.", code="heidicon_bad_answer")


def find_tag(nodes: object, wanted: str) -> int:
    """The id of the tag that has the display name `wanted` in any language, or that id.

    Raises InvalidRequest: heidicon_tag_unknown, heidicon_tag_ambiguous; UpstreamFailed for an answer that is no tree.
    """
    tags = list(_tags(nodes))
    if any(str(identifier) == wanted for identifier, _ in tags):
        return int(wanted)
    named = {identifier for identifier, names in tags if wanted in names}
    if not named:
        raise InvalidRequest(f"HeidICON has no tag “{wanted}”.", code="heidicon_tag_unknown")
    if len(named) > 1:
        ids = ", ".join(str(identifier) for identifier in sorted(named))
        message = f"HeidICON has several tags “{wanted}”; use the id of one of them: {ids}."
        raise InvalidRequest(message, code="heidicon_tag_ambiguous")
    return named.pop()


def parse_page(answer: object, limit: int) -> ObjectPage:
    """The objects of a page, each with the image URLs of its assets. Raises UpstreamFailed."""
    body = _dict(answer, "a page that is no object")
    total = body.get("count")
    if not isinstance(total, int) or isinstance(total, bool) or total < 0:
        raise nonsense("a page without a count")
    found = _list(body.get("objects"), "a page without a list of objects")
    if len(found) > limit:
        raise nonsense("a page with more objects than were asked for")
    return ObjectPage(total, [_object(entry) for entry in found])


def _tags(nodes: object) -> Iterator[tuple[int, set[str]]]:
    pending = list(_list(nodes, "tags that are no list"))
    while pending:
        node = _dict(pending.pop(), "a tag that is no object")
        children = node.get("_tags")
        if children is not None:
            pending.extend(_list(children, "tags of a group that are no list"))
        if node.get("_basetype") != "taggroup":
            yield _tag(node)


def _tag(node: Json) -> tuple[int, set[str]]:
    tag = _dict(node.get("tag"), "a tag without its fields")
    identifier = tag.get("_id")
    if not isinstance(identifier, int) or isinstance(identifier, bool):
        raise nonsense("a tag without an id")
    names = _dict(tag.get("displayname") or {}, "a tag's display name that is no object")
    return identifier, {name for name in names.values() if isinstance(name, str)}


def _object(entry: object) -> tuple[int, list[str]]:
    found = _dict(entry, "an object that is none")
    identifier = found.get("_system_object_id")
    if not isinstance(identifier, int) or isinstance(identifier, bool):
        raise nonsense("an object without an id")
    resources = _dict(found.get("ressourcen") or {}, "ressourcen that are no object")
    assets = _list(resources.get("asset") or [], "assets that are no list")
    urls = (_image_url(_dict(asset, "an asset that is no object")) for asset in assets)
    return identifier, [url for url in urls if url is not None]


def _image_url(asset: Json) -> str | None:
    versions = _dict(asset.get("versions") or {}, "versions that are no object")
    for name in VERSIONS:
        if versions.get(name) is None:
            continue
        version = _dict(versions[name], "a version that is no object")
        if version.get("_not_allowed") or version.get("_download_allowed") is False or version.get("status") != "done":
            continue
        url = version.get("download_url")
        if not isinstance(url, str) or not url.lower().startswith(("http://", "https://")):
            raise nonsense("a version without a download URL")
        return url
    return None


def _dict(value: object, what: str) -> Json:
    if not isinstance(value, dict):
        raise nonsense(what)
    return value


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list):
        raise nonsense(what)
    return value
