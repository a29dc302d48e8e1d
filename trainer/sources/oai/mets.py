"""METS as the DFG Viewer reads it: pages in the order of the physical structure, links from the application profile."""

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from catalog.sources.records import SourceImage
from trainer.sources.image_links import addresses, may_be_image
from trainer.sources.source_text import source_image

METS = "{http://www.loc.gov/METS/}"
MODS = "{http://www.loc.gov/mods/v3}"
XLINK = "{http://www.w3.org/1999/xlink}"
DFG = "{http://dfg-viewer.de/}"
# DEFAULT has images for the screen, MAX the largest ones. Others call their groups as they like.
GROUPS = ("DEFAULT", "MAX")
# Words in the names of groups whose images are too small, or no images of the object.
SMALL = ("MIN", "THUMB", "ICON", "PREVIEW", "TEASER")
OTHER_GROUPS = ("FULLTEXT", "OCR", "ALTO", "DOWNLOAD", "PDF", "AUDIO", "VIDEO", "TRANSCRI", "TEI")


def images(metadata: Element) -> list[SourceImage]:
    """Return the images of a record, one for each page."""
    files = next((found for group in _groups(metadata) if (found := dict(_files(metadata, group)))), {})
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


def _groups(metadata: Element) -> list[str]:
    """Return the names of the groups that may have images of the pages, the best ones first."""
    names = list(dict.fromkeys(group.get("USE", "") for group in metadata.iter(f"{METS}fileGrp")))
    return sorted((name for name in names if not _mentions(name, OTHER_GROUPS)), key=_rank)


def _rank(name: str) -> int:
    upper = name.strip().upper()
    if upper in GROUPS:
        return GROUPS.index(upper)
    return len(GROUPS) + _mentions(name, SMALL)


def _mentions(name: str, words: Sequence[str]) -> bool:
    return any(word in name.upper() for word in words)


def _files(metadata: Element, use: str) -> Iterator[tuple[str, str]]:
    """Return the images of a file group by the id of their file."""
    for group in metadata.iter(f"{METS}fileGrp"):
        if group.get("USE", "") != use:
            continue
        for file in _own_files(group):
            location = file.find(f"{METS}FLocat")
            link = None if location is None else location.get(f"{XLINK}href")
            for url in addresses([link]):
                if may_be_image(url, file.get("MIMETYPE")):
                    yield file.get("ID", url), url


def _own_files(group: Element) -> Iterator[Element]:
    """Return the files of a group without those of groups inside it that have names of their own."""
    for child in group:
        if child.tag == f"{METS}file":
            yield from child.iter(f"{METS}file")
        elif child.tag == f"{METS}fileGrp" and "USE" not in child.attrib:
            yield from _own_files(child)


def _pages(metadata: Element, files: dict[str, str]) -> Iterator[tuple[str, str | None]]:
    """Return the images of the physical structure with their labels, each page once."""
    for structure in metadata.iter(f"{METS}structMap"):
        if structure.get("TYPE", "").upper() != "PHYSICAL":
            continue
        pages = [page for page in structure.iter(f"{METS}div") if page.find(f"{METS}fptr") is not None]
        for page in sorted(pages, key=_order):
            # An area of a file, such as a text in it, points to the file too.
            pointers = (each.get("FILEID", "") for pointer in page.findall(f"{METS}fptr") for each in pointer.iter())
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
