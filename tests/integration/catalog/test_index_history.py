"""The history of indexes: what each was made of stays after its vectors and its adapter are gone."""

from json import loads

import pytest

from catalog.index_history import IndexHistory
from catalog.indexes import ImageFailure, Index
from servicekit.errors import InvalidRequest
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")

URLS = [f"https://example.org/{number}.jpg" for number in range(3)]


async def published(place: Workplace, collection: int, *failures: ImageFailure) -> Index:
    await place.finetune(collection, force=True)
    job = await place.jobs.claim("worker")
    assert job is not None
    index = await place.indexes.begin(job, "b" * 64, backbone_name="efficientnet-lite0")
    await place.indexes.add_failures(index, failures)
    adapter = await place.adapters.add(collection, "b" * 64, b"weights", None)
    await place.indexes.set_adapter(index, adapter, 256, '{"adapter": "pca"}', [])
    await place.jobs.publish(job, index.id, len(URLS) - len(failures))
    return index


async def test_a_replaced_index_keeps_its_description_when_it_is_removed(workplace: Workplace) -> None:
    history = IndexHistory(workplace.database)
    collection = await workplace.collection(URLS)
    first = await published(workplace, collection, ImageFailure(1, "not_found", ""), ImageFailure(2, "timeout", ""))
    live = await history.get(collection, first.id)
    assert (live.live, live.superseded_at) == (True, None)
    assert (live.backbone, live.backbone_name, live.dim) == ("b" * 64, "efficientnet-lite0", 256)
    assert (live.revision, live.row_count, live.image_count) == (1, 3, 1)
    assert live.failures == {"not_found": 1, "timeout": 1}
    assert loads(live.quality or "") == {"adapter": "pca"}
    await workplace.fill(collection, URLS[:2])
    second = await published(workplace, collection)
    replaced = await history.get(collection, first.id)
    assert not replaced.live
    assert replaced.superseded_at is not None
    assert replaced.superseded_at > replaced.published_at
    await workplace.indexes.remove(first.id)
    await workplace.adapters.remove_unused()
    await workplace.contents.prune(0)
    assert await history.get(collection, first.id) == replaced
    assert await history.newest(collection, 10) == [await history.get(collection, second.id), replaced]
    # The last three contents are kept.
    for table, kept in (("indexes", 1), ("adapters", 1), ("contents", 2)):
        assert await workplace.rows(f"SELECT count(*) FROM {table}") == [(kept,)], table  # noqa: S608
    assert await workplace.rows("SELECT count(*) FROM image_failures") == [(0,)]


async def test_the_newest_indexes_come_first_and_others_are_left_out(workplace: Workplace) -> None:
    history = IndexHistory(workplace.database)
    collection, other = await workplace.collection(URLS), await workplace.collection(URLS)
    made = [(await published(workplace, collection)).id for _ in range(4)]
    await published(workplace, other)
    for index_id in made:
        # The live one stays.
        await workplace.indexes.remove(index_id)
    assert [index.id for index in await history.newest(collection, 3)] == made[:0:-1]
    assert [index.live for index in await history.newest(collection, 3)] == [True, False, False]


async def test_only_published_indexes_of_the_collection_are_found(workplace: Workplace) -> None:
    history = IndexHistory(workplace.database)
    collection, other = await workplace.collection(URLS), await workplace.collection(URLS)
    elsewhere = await published(workplace, other)
    await workplace.finetune(collection)
    job = await workplace.jobs.claim("worker")
    assert job is not None
    begun = await workplace.indexes.begin(job, "b" * 64)
    await workplace.jobs.mark_cancelled(job)
    for index_id in (begun.id, elsewhere.id, 2**63 - 1):
        with pytest.raises(InvalidRequest) as refused:
            await history.get(collection, index_id)
        assert refused.value.code == "index_not_found"
    await workplace.indexes.remove(begun.id)
    assert await history.newest(collection, 10) == []
    assert await workplace.rows("SELECT count(*) FROM past_indexes") == [(0,)]


async def test_the_history_goes_with_its_collection(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    first = await published(workplace, collection)
    await published(workplace, collection)
    await workplace.indexes.remove(first.id)
    await workplace.collections.mark_deleting(collection)
    await workplace.collections.remove(collection)
    assert await workplace.rows("SELECT count(*) FROM past_indexes") == [(0,)]
