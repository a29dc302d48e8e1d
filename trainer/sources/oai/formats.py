"""The metadata formats that we read. The root element says which one a record has, whatever its prefix is called."""

from collections.abc import Callable, Mapping
from xml.etree.ElementTree import Element

from catalog.sources.records import SourceImage
from servicekit.errors import InvalidRequest, ServiceError
from trainer.sources.oai import dublin_core, edm, lido, mets
from trainer.sources.oai.namespaces import with_usual_namespaces

FORMATS: Mapping[str, Callable[[Element], list[SourceImage]]] = {
    f"{edm.RDF}RDF": edm.images,
    f"{lido.LIDO}lido": lido.images,
    f"{lido.LIDO}lidoWrap": lido.images,
    f"{mets.METS}mets": mets.images,
    f"{dublin_core.OAI_DC}dc": dublin_core.images,
}
BY_NAME = {tag.rpartition("}")[2]: read for tag, read in FORMATS.items()}


def images_of(metadata: Element) -> list[SourceImage]:
    """Return the images that a record names. Raises ServiceError, unknown_format."""
    metadata = with_usual_namespaces(metadata)
    # Some repositories use quite another namespace for the root.
    read = FORMATS.get(metadata.tag) or BY_NAME.get(metadata.tag.rpartition("}")[2])
    if read is None:
        raise unknown_format(metadata.tag)
    return read(metadata)


def unknown_format(name: str) -> ServiceError:
    """Return the error for a record in another format."""
    shown = name.rpartition("}")[2][:60]
    message = f"The record's format “{shown}” is not supported. Supported: EDM, LIDO, METS and oai_dc."
    return InvalidRequest(message, code="unknown_format")
