"""Where a fetch keeps what becomes of images."""

from dataclasses import dataclass

from catalog.image_versions import ImageVersions
from catalog.indexes import Indexes
from catalog.vectors.base_store import BaseStore


@dataclass(frozen=True)
class FetchStores:
    """Vectors of images, those of the augmented views of a sample, the versions they were made of, and failures."""

    vectors: BaseStore
    views: BaseStore
    versions: ImageVersions
    indexes: Indexes
