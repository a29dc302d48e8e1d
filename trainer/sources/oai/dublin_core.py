"""Simple Dublin Core. It has no field for images, so the links of a record are told apart.

A link whose path ends like an image file, or is an image request of IIIF, leads to an image. The first other link, from
`dc:identifier` if there is one, is the landing page.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from catalog.sources.records import SourceImage
from trainer.sources.image_links import addresses, is_image_link, may_be_image
from trainer.sources.source_text import source_image

OAI_DC = "{http://www.openarchives.org/OAI/2.0/oai_dc/}"
FIELDS = ("identifier", "relation", "source", "format")


def images(metadata: Element) -> list[SourceImage]:
    """Return the images of a record."""
    links = addresses(element.text for name in FIELDS for element in _elements(metadata, name))
    found = [url for url in links if is_image_link(url)]
    pages = [url for url in links if url not in found and may_be_image(url)]
    page = next(iter(pages), None)
    described = [
        source_image(
            url, page, label=_first(metadata, "title"), attribution=_publisher(metadata), rights=_rights(metadata)
        )
        for url in found
    ]
    return [image for image in described if image is not None]


def _publisher(metadata: Element) -> str | None:
    return _first(metadata, "publisher") or _first(metadata, "creator")


def _rights(metadata: Element) -> str | None:
    texts = [element.text for element in _elements(metadata, "rights") if element.text]
    return next(iter(addresses(texts)), None) or next(iter(texts), None)


def _first(metadata: Element, name: str) -> str | None:
    return next((element.text for element in _elements(metadata, name) if element.text), None)


def _elements(metadata: Element, name: str) -> Iterator[Element]:
    """Return the elements of this name. Some repositories put them into the namespace of terms, or into none."""
    return (element for element in metadata.iter() if element.tag.rpartition("}")[2] == name)
