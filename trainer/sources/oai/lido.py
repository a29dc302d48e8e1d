"""LIDO 1.0 and 1.1: one image for each resource set, and the landing page from the record's information."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from catalog.sources.records import SourceImage
from trainer.sources.image_links import addresses, may_be_image
from trainer.sources.source_text import source_image

LIDO = "{http://www.lido-schema.org}"
# Words in the type of a representation that is too small.
SMALL = ("thumb", "icon", "preview")
# A resource that was taken from the record, or is meant for staff only.
HTML = "text/html"


def images(metadata: Element) -> list[SourceImage]:
    """Return the images of a record."""
    records = list(metadata.iter(f"{LIDO}lido"))
    return [image for record in records for image in _images_of(record)]


def _images_of(record: Element) -> Iterator[SourceImage]:
    page = next(iter(_landing_pages(record)), None)
    for resource in record.iter(f"{LIDO}resourceSet"):
        url = _link(resource)
        image = source_image(
            url,
            page,
            label=_value(record, f"{LIDO}titleSet/{LIDO}appellationValue"),
            attribution=_value(resource, f"{LIDO}creditLine")
            or _value(record, f"{LIDO}repositoryName//{LIDO}appellationValue"),
            rights=_rights(resource),
        )
        if image is not None:
            yield image


def _link(resource: Element) -> str | None:
    """Return the link of the largest representation that is an image."""
    found: list[tuple[bool, str]] = []
    for representation in resource.iter(f"{LIDO}resourceRepresentation"):
        kind = representation.get(f"{LIDO}type", "").lower()
        small = any(word in kind for word in SMALL)
        for link in representation.iter(f"{LIDO}linkResource"):
            media = link.get(f"{LIDO}formatResource")
            found += ((small, url) for url in addresses([link.text]) if may_be_image(url, media))
    return min(found, key=lambda each: each[0])[1] if found else None


def _landing_pages(record: Element) -> list[str]:
    links = list(record.iter(f"{LIDO}recordInfoLink"))
    # An HTML page comes first: others may be the record as XML.
    links.sort(key=lambda link: link.get(f"{LIDO}formatResource") not in (None, HTML))
    return addresses([*(link.text for link in links), *(each.text for each in record.iter(f"{LIDO}objectPublishedID"))])


def _rights(resource: Element) -> str | None:
    types = list(resource.iter(f"{LIDO}rightsType"))
    texts = [each.text for kind in types for name in ("conceptID", "term") for each in kind.iter(f"{LIDO}{name}")]
    return next(iter(addresses(texts)), None) or next((text for text in texts if text and text.strip()), None)


def _value(element: Element, path: str) -> str | None:
    return next((each.text for each in element.findall(f".//{path}") if each.text and each.text.strip()), None)
