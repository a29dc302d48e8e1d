"""Collections whose content comes from a source cannot be changed in another way."""

from catalog.collections import Collection
from servicekit.errors import InvalidRequest

NAMES = {"iiif": "IIIF", "oai": "OAI-PMH"}


def content_is_imported(collection: Collection) -> InvalidRequest:
    """Return the error for a change of such a collection."""
    source = NAMES.get(collection.source_type or "", collection.source_type)
    message = (
        f"Collection {collection.id} is read from its {source} source. Change the content there, then call source/read."
    )
    return InvalidRequest(message, code="content_is_imported")
