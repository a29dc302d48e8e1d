"""The Europeana Data Model (EDM definition 5.2): images and landing page are those of the aggregation."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from catalog.sources.records import SourceImage
from trainer.sources.image_links import addresses, may_be_image
from trainer.sources.source_text import source_image, web_address

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
EDM = "{http://www.europeana.eu/schemas/edm/}"
ORE = "{http://www.openarchives.org/ore/terms/}"
DC = "{http://purl.org/dc/elements/1.1/}"
EBUCORE = "{http://www.ebu.ch/metadata/ontologies/ebucore/ebucore#}"


def images(metadata: Element) -> list[SourceImage]:
    """Return the images of a record: `isShownBy` and `hasView`, or else the preview `object`."""
    found: list[SourceImage] = []
    media_types = dict(_media_types(metadata))
    for aggregation in metadata.iter(f"{ORE}Aggregation"):
        links = addresses((*_links(aggregation, "isShownBy"), *_links(aggregation, "hasView")))
        views = [url for url in links if may_be_image(url, media_types.get(url))]
        views = views or [url for url in addresses(_links(aggregation, "object")) if may_be_image(url)]
        found += (image for url in views if (image := _image(metadata, aggregation, url)) is not None)
    return found


def _image(metadata: Element, aggregation: Element, url: str) -> SourceImage | None:
    pages = (*_links(aggregation, "isShownAt"), *_links(aggregation, "aggregatedCHO"))
    return source_image(
        url,
        next((page for page in pages if web_address(page)), None),
        label=next((title.text for title in metadata.iter(f"{DC}title") if title.text), None),
        attribution=_attribution(aggregation),
        rights=next(_links(aggregation, "rights"), None),
    )


def _attribution(aggregation: Element) -> str | None:
    """Return the name of the institution. A provider can also be an address of a vocabulary, which names nobody."""
    for name in ("dataProvider", "provider"):
        for text in _links(aggregation, name):
            if not web_address(text):
                return text
    return None


def _links(element: Element, name: str) -> Iterator[str]:
    """Return the values of a property: an address, or a text."""
    for child in element.findall(f"{EDM}{name}"):
        value = child.get(f"{RDF}resource") or child.text
        if value and value.strip():
            yield value.strip()


def _media_types(metadata: Element) -> Iterator[tuple[str, str]]:
    for resource in metadata.iter(f"{EDM}WebResource"):
        media = resource.find(f"{EBUCORE}hasMimeType")
        if media is not None and media.text:
            yield resource.get(f"{RDF}about", "").strip(), media.text.strip()
