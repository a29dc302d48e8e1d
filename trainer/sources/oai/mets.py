"""METS as the DFG Viewer reads it: pages in the order of the physical structure, links from the application profile."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from catalog.sources.records import SourceImage
from trainer.sources.image_links import addresses, may_be_image
from trainer.sources.source_text import source_image

METS = "{http://www.loc.gov/METS/}"
MODS = "{http://www.loc.gov/mods/v3}"
XLINK = "{http://www.w3.org/1999/xlink}"
DFG = "{http://dfg-viewer.de/}"
# DEFAULT has images for the screen, MAX the largest ones.
GROUPS = ("DEFAULT", "MAX", "MIN")


def images(metadata: Element) -> list[SourceImage]:
    """Return the images of a record, one for each page."""
    files = next((found for group in GROUPS if (found := dict(_files(metadata, group)))), {})
    pages = list(_pages(metadata, files)) or [(url, None) for url in files.values()]
    title, page = _title(metadata), _landing_page(metadata)
    described = [
        source_image(
            url,
            page,
            label=", ".join(part for part in (title, label) if part),
            attribution=_first(metadata, f"{DFG}owner"),
            rights=_first(metadata, f"{DFG}license"),
        )
        for url, label in pages
    ]
    return [image for image in described if image is not None]


def _files(metadata: Element, use: str) -> Iterator[tuple[str, str]]:
    """Return the images of a file group by the id of their file."""
    for group in metadata.iter(f"{METS}fileGrp"):
        if group.get("USE") != use:
            continue
        for file in group.iter(f"{METS}file"):
            location = file.find(f"{METS}FLocat")
            link = None if location is None else location.get(f"{XLINK}href")
            for url in addresses([link]):
                if may_be_image(url, file.get("MIMETYPE")):
                    yield file.get("ID", url), url


def _pages(metadata: Element, files: dict[str, str]) -> Iterator[tuple[str, str | None]]:
    """Return the images of the physical structure with their labels, each page once."""
    for structure in metadata.iter(f"{METS}structMap"):
        if structure.get("TYPE") != "PHYSICAL":
            continue
        pages = [page for page in structure.iter(f"{METS}div") if page.find(f"{METS}fptr") is not None]
        for page in sorted(pages, key=_order):
            pointers = (pointer.get("FILEID", "") for pointer in page.findall(f"{METS}fptr"))
            url = next((files[pointer] for pointer in pointers if pointer in files), None)
            if url is not None:
                yield url, page.get("ORDERLABEL") or page.get("LABEL")


def _order(page: Element) -> int:
    text = page.get("ORDER", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _landing_page(metadata: Element) -> str | None:
    links = [*metadata.iter(f"{DFG}presentation"), *metadata.iter(f"{DFG}reference")]
    links += metadata.findall(f".//{MODS}location/{MODS}url")
    return next(iter(addresses(link.text for link in links)), None)


def _title(metadata: Element) -> str | None:
    return next((each.text for each in metadata.findall(f".//{MODS}titleInfo/{MODS}title") if each.text), None)


def _first(metadata: Element, name: str) -> str | None:
    return next((each.text for each in metadata.iter(name) if each.text and each.text.strip()), None)
