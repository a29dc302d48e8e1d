"""The namespaces of metadata, which some repositories misspell: https for http, or a slash too many or too few."""

import re
from xml.etree.ElementTree import Element

# As the formats define them.
NAMESPACES = (
    "http://www.lido-schema.org",
    "http://www.loc.gov/METS/",
    "http://www.loc.gov/mods/v3",
    "http://www.w3.org/1999/xlink",
    "http://dfg-viewer.de/",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://www.europeana.eu/schemas/edm/",
    "http://www.openarchives.org/ore/terms/",
    "http://purl.org/dc/elements/1.1/",
    "http://www.openarchives.org/OAI/2.0/oai_dc/",
    "http://www.ebu.ch/metadata/ontologies/ebucore/ebucore#",
)
VARIABLE = re.compile(r"https?://(?:www\.)?(.*?)[/#]*", re.IGNORECASE)


def _essence(namespace: str) -> str:
    found = VARIABLE.fullmatch(namespace.strip())
    return (found[1] if found else namespace).lower()


_BY_ESSENCE = {_essence(namespace): namespace for namespace in NAMESPACES}


def with_usual_namespaces(metadata: Element) -> Element:
    """Return a record, changed in place, whose elements and attributes are in the namespaces that they mean."""
    usual: dict[str, str] = {}
    for element in metadata.iter():
        element.tag = _usual(element.tag, usual)
        for name in [name for name in element.attrib if name.startswith("{") and _usual(name, usual) != name]:
            element.attrib[_usual(name, usual)] = element.attrib.pop(name)
    return metadata


def _usual(name: str, usual: dict[str, str]) -> str:
    """Return a name in Clark notation in the usual namespace. usual: those that were looked up before."""
    namespace, brace, local = name.rpartition("}")
    if not brace:
        return name
    if namespace not in usual:
        usual[namespace] = "{" + _BY_ESSENCE.get(_essence(namespace[1:]), namespace[1:])
    return f"{usual[namespace]}}}{local}"
