"""Names of our Qdrant collections: they say what each one holds.

- `PREFIX-c1-g2`: a generation, with the vectors of index 2 of collection 1.
- `PREFIX-c1-bCHECKSUM`: a base store of collection 1, with the vectors of the backbone that has this checksum.
- `PREFIX-c1-vCHECKSUM`: the same for augmented views.
"""

import re
from dataclasses import dataclass

from catalog.vectors.client import Qdrant, qdrant_errors

# Enough of a checksum to tell backbones apart.
CHECKSUM_CHARACTERS = 16


def generation_name(prefix: str, collection_id: int, index_id: int) -> str:
    """Return the name of the generation of an index."""
    return f"{prefix}-c{collection_id}-g{index_id}"


def base_store_name(prefix: str, collection_id: int, backbone: str) -> str:
    """Return the name of a collection's base store. backbone: the checksum."""
    return f"{prefix}-c{collection_id}-b{backbone[:CHECKSUM_CHARACTERS]}"


def view_store_name(prefix: str, collection_id: int, backbone: str) -> str:
    """Return the name of a collection's store of augmented views. backbone: the checksum."""
    return f"{prefix}-c{collection_id}-v{backbone[:CHECKSUM_CHARACTERS]}"


@dataclass(frozen=True)
class VectorCollection:
    """A Qdrant collection of ours. backbone: the start of a checksum for a base store, None for a generation."""

    name: str
    collection_id: int
    backbone: str | None


@dataclass(frozen=True)
class VectorCollections:
    """All our Qdrant collections. prefix: what their names begin with."""

    client: Qdrant
    prefix: str

    async def list(self) -> list[VectorCollection]:
        """List the Qdrant collections that are ours and skip all others. Raises as `qdrant_errors` does."""
        with qdrant_errors():
            names = await self.client.collection_names()
        found = [_parse(name, self.prefix) for name in names]
        return [collection for collection in found if collection is not None]


def _parse(name: str, prefix: str) -> VectorCollection | None:
    match = re.fullmatch(re.escape(prefix) + r"-c(\d+)-(?:g\d+|[bv](?P<backbone>.+))", name)
    return None if match is None else VectorCollection(name, int(match[1]), match["backbone"])
