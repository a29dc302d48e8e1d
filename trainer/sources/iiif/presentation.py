"""IIIF Presentation 2 and 3: the images of a manifest, and what a collection lists."""

from collections.abc import Iterator
from dataclasses import dataclass

from catalog.sources.records import SourceImage
from trainer.sources.iiif.image_urls import image_url, is_image, part_of
from trainer.sources.iiif.json_values import Resource, identifier, items, kind, resource, resources, string, text
from trainer.sources.source_errors import invalid
from trainer.sources.source_text import source_image, web_address

HTML = "text/html"


@dataclass(frozen=True)
class Manifest:
    """A manifest. images: one for each canvas with an image, in order. canvases: their number, with the others."""

    images: tuple[SourceImage, ...]
    canvases: int


@dataclass(frozen=True)
class CollectionPage:
    """A collection, or a page of one. more: the addresses of its pages: the first one, and the next one."""

    manifests: tuple[str, ...]
    collections: tuple[str, ...]
    more: tuple[str, ...]


def parse(url: str, document: object) -> Manifest | CollectionPage:
    """Return the manifest or collection in a document. url: where it was found. Raises ServiceError."""
    found = resource(document)
    match kind(found):
        case "Manifest":
            return _manifest(url, found)
        case "Collection" | "CollectionPage":
            return _collection(url, found)
    # Some manifests lack a type.
    if isinstance(document, dict) and not kind(found) and ("sequences" in found or any(_canvases(found))):
        return _manifest(url, found)
    name = kind(found) or "none"
    raise invalid(url, f"expected a IIIF manifest or collection, found JSON of the type “{name[:60]}”")


def _collection(url: str, found: Resource) -> CollectionPage:
    manifests: list[str] = []
    collections: list[str] = []
    for name in ("items", "members", "manifests", "collections"):
        for member in items(found.get(name)):
            address = web_address(identifier(member), url)
            if address is None:
                continue
            is_collection = kind(member) == "Collection" or (name == "collections" and kind(member) == "")
            (collections if is_collection else manifests).append(address)
    more = [address for name in ("first", "next") if (address := web_address(identifier(found.get(name)), url))]
    return CollectionPage(tuple(dict.fromkeys(manifests)), tuple(dict.fromkeys(collections)), tuple(more))


def _manifest(url: str, found: Resource) -> Manifest:
    canvases = list(_canvases(found))
    images = []
    for canvas in canvases:
        content = next(_contents(canvas), None)
        if content is None:
            continue
        image = source_image(
            web_address(image_url(content, canvas), url),
            _landing_page(url, canvas) or _landing_page(url, found) or url,
            label=_label(found, canvas, alone=len(canvases) == 1),
            attribution=_attribution(canvas) or _attribution(found),
            rights=_rights(canvas) or _rights(found),
        )
        if image is not None:
            images.append(image)
    return Manifest(tuple(images), len(canvases))


def _canvases(found: Resource) -> Iterator[Resource]:
    if "sequences" in found:
        # Further sequences show the same canvases in another order (Presentation 2.1, 5.2).
        first = next(resources(found.get("sequences")), {})
        yield from resources(first.get("canvases"))
    else:
        yield from (item for item in resources(found.get("items")) if _is_canvas(item))


def _is_canvas(item: Resource) -> bool:
    """Return whether an item of a manifest is a canvas. Some lack a type."""
    return kind(item) == "Canvas" or (not kind(item) and "items" in item)


def _contents(canvas: Resource) -> Iterator[Resource]:
    """Return the images that are painted on a canvas."""
    for annotation in resources(canvas.get("images")):
        yield from _image_of(annotation.get("resource"))
    for page in resources(canvas.get("items")):
        for annotation in resources(page.get("items")):
            if _is_painting(annotation):
                for body in items(annotation.get("body")):
                    yield from _image_of(body)


def _is_painting(annotation: Resource) -> bool:
    """Return whether an annotation belongs to what a canvas shows. Some do not say why they are there."""
    motivations = [text for text in items(annotation.get("motivation")) if isinstance(text, str)]
    return not motivations or any(text.rpartition(":")[2] == "painting" for text in motivations)


def _image_of(value: object) -> Iterator[Resource]:
    if isinstance(value, list):
        for item in value:
            if not isinstance(item, list):
                yield from _image_of(item)
        return
    content = {"id": value} if isinstance(value, str) else resource(value)
    match kind(content):
        case "Choice":
            for option in (*items(content.get("default")), *items(content.get("items")), *items(content.get("item"))):
                if kind(option) != "Choice":
                    yield from _image_of(option)
        case "SpecificResource":
            whole = resource(content.get("source") or content.get("full"))
            if kind(whole) != "SpecificResource":
                yield from (part_of(image, content.get("selector")) for image in _image_of(whole))
        case _:
            if content and is_image(content):
                yield content


def _landing_page(url: str, found: Resource) -> str | None:
    """Return the page for people: `homepage`, or else `rendering` or `related`, an HTML page first."""
    pages = [*items(found.get("homepage"))]
    if not pages:
        others = [*items(found.get("rendering")), *items(found.get("related"))]
        pages = sorted(others, key=lambda page: string(resource(page).get("format")) != HTML)
    return next((address for page in pages if (address := web_address(identifier(page), url))), None)


def _label(found: Resource, canvas: Resource, *, alone: bool) -> str | None:
    whole, part = text(found.get("label")), text(canvas.get("label"))
    if alone or not part or part == whole:
        return whole or part
    return f"{whole}, {part}" if whole else part


def _attribution(found: Resource) -> str | None:
    statement = resource(found.get("requiredStatement"))
    provider = next(resources(found.get("provider")), {})
    return text(statement.get("value")) or text(found.get("attribution")) or text(provider.get("label"))


def _rights(found: Resource) -> str | None:
    for name in ("rights", "license"):
        for value in items(found.get(name)):
            address = identifier(value)
            if address:
                return address
    return None
