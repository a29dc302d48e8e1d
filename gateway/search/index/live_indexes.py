"""The live indexes of collections, remembered, so that most searches need not read them."""

from array import array
from collections.abc import Collection
from dataclasses import replace

from cachetools import LRUCache

from catalog.collections import not_found
from catalog.indexes import Index, Indexes
from gateway.metrics import GatewayMetrics
from servicekit.errors import FailedPrecondition

# An index takes some 10 kB.
REMEMBERED = 1000


class LiveIndexes:
    """Knows the index that each collection had live when it was last read.

    An index does not change any more once it is live, but another one may replace it. A search on an index that is only
    `known` has to find out whether it is still live, and if not, to use the `current` one. All methods but `known` read
    the database.
    """

    def __init__(self, indexes: Indexes, metrics: GatewayMetrics) -> None:
        self._indexes = indexes
        self._metrics = metrics
        self._known: LRUCache[int, Index] = LRUCache(REMEMBERED)

    def known(self, collection_id: int) -> Index | None:
        """Return the index that was live when it was last read; None: it has never been read."""
        return self._known.get(collection_id)

    async def current(self, collection_id: int) -> Index:
        """Return the live index of a collection.

        Raises InvalidRequest, collection_not_found, and FailedPrecondition, not_finetuned.
        """
        live = await self.of([collection_id], limit=1)
        if collection_id not in live:
            raise not_found(collection_id)
        index = live[collection_id]
        if index is None:
            raise not_finetuned()
        return index

    async def of(self, collection_ids: Collection[int] | None, *, limit: int) -> dict[int, Index | None]:
        """Return the live indexes of the first `limit` collections that exist, by collection; None: it has none.

        collection_ids: None for all.
        """
        with self._metrics.search_stage("index"):
            live = await self._indexes.live_ids(collection_ids, limit=limit)
            remembered = [each for collection in live if (each := self._known.get(collection)) is not None]
            known = {each.collection_id: each for each in remembered if each.id == live[each.collection_id]}
            changed = [
                collection for collection, index in live.items() if index is not None and collection not in known
            ]
            fresh = await self._indexes.live_of(changed, limit=limit) if changed else {}
        found: dict[int, Index | None] = {}
        for collection, index in live.items():
            if index is None or collection in known:
                found[collection] = known.get(collection)
            elif collection in fresh:
                found[collection] = self._remember(fresh[collection])
        return found

    async def mark_lost(self, index: Index) -> None:
        """Record that an index has lost its vectors, so that a finetune makes them again."""
        await self._indexes.mark_lost(index.id)

    def _remember(self, index: Index | None) -> Index | None:
        if index is None:
            return None
        # Its many numbers take less memory than as objects.
        compact = replace(index, score_quantiles=array("d", index.score_quantiles))
        self._known[index.collection_id] = compact
        return compact


def not_finetuned() -> FailedPrecondition:
    """Return the error for a collection without an index."""
    message = "The collection has not been finetuned yet. Finetune it before searching."
    return FailedPrecondition(message, code="not_finetuned")
