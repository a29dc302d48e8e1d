"""Collections whose content comes from a source cannot be changed in another way."""

from catalog.collections import Collection
from servicekit.errors import InvalidRequest

NAMES = {"iiif": "IIIF", "oai": "OAI-PMH"}


def content_is_imported(collection: Collection) -> InvalidRequest:
    """Return the error for a change of such a collection."""
    source = NAMES.get(collection.source_type or "", collection.source_type)
    message = (
        f"Collection {collection.id} is imported from a source that speaks {source}. "
        "Change it there, then call source/read to read it again."
    )
    return InvalidRequest(message, code="content_is_imported")
