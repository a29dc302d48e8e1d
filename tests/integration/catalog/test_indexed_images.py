"""Which images the points of an index stand for."""

import pytest

from catalog import indexed_images
from catalog.indexed_images import EqualImage, IndexedImages, Points, RowUrl
from catalog.indexes import Index
from catalog.jobs import LeaseLost
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def begun(place: Workplace, images: int) -> tuple[Index, list[int]]:
    """Begin an index of a new collection, and return it with the ids of the collection's images."""
    collection = await place.collection([f"https://example.org/{number}.jpg" for number in range(images)])
    await place.finetune(collection)
    job = await place.jobs.claim("worker")
    assert job is not None
    page = await place.images.page(collection, 1, after=0, limit=images)
    return await place.indexes.begin(job, "b"), [image.id for image in page]


async def found(place: Workplace, index: Index, points: list[int], limit: int) -> list[tuple[int, int]]:
    """Return the place and the image id of what points stand for, which is the same if all rows are in memory."""
    images, asked = IndexedImages(place.database), Points(index, points, limit)
    [read] = await images.of_indexes([asked])
    rows = await images.all_rows(index, most=100, most_bytes=100_000)
    assert rows is not None
    in_memory = rows.of_points(asked)
    assert (in_memory.images, in_memory.first, in_memory.is_live) == (read.images, read.first, None)
    return [(row.place, row.image.id) for row in read.images]


async def test_points_expand_to_as_many_images_as_are_asked_for(workplace: Workplace) -> None:
    index, ids = await begun(workplace, 12)
    images = IndexedImages(workplace.database)
    # Images 0 to 4 are equal, 5 is alone, 6 and 8 are equal, and so are 7, 9, 10 and 11.
    equal = [EqualImage(ids[0], number, ids[number]) for number in range(1, 5)]
    equal += [EqualImage(ids[6], 1, ids[8]), *(EqualImage(ids[7], number, ids[8 + number]) for number in range(1, 4))]
    for _ in range(2):
        await images.add_equal(index, equal)
    everything = [(0, ids[7]), (0, ids[9]), (0, ids[10]), (0, ids[11]), (1, ids[5])]
    everything += [(2, ids[number]) for number in range(5)] + [(3, ids[6]), (3, ids[8])]
    points = [ids[7], ids[5], ids[0], ids[6]]
    for limit in (1, 3, 4, 5, 7, 11, 12, 1000):
        assert await found(workplace, index, points, limit) == everything[:limit]
    assert await found(workplace, index, [], 10) == []
    [first, *_] = await images.of_points(index, points, 1)
    assert first.image.image_url == "https://example.org/7.jpg"


async def test_points_of_an_index_without_equal_images_stand_for_themselves(workplace: Workplace) -> None:
    first, ids = await begun(workplace, 4)
    await IndexedImages(workplace.database).add_equal(first, [EqualImage(ids[0], 1, ids[1])])
    job = await workplace.jobs.get(1)
    second = await workplace.indexes.begin(job, "b")
    assert await found(workplace, second, [ids[2], ids[0]], 10) == [(0, ids[2]), (1, ids[0])]


async def test_images_that_the_revision_lacks_are_left_out(workplace: Workplace) -> None:
    index, ids = await begun(workplace, 3)
    await IndexedImages(workplace.database).add_equal(
        index, [EqualImage(ids[0], 1, 10**12), EqualImage(ids[0], 2, ids[1])]
    )
    await workplace.fill(index.collection_id, ["https://example.org/2.jpg"])
    # The index keeps its own revision.
    assert await found(workplace, index, [10**13, ids[0], ids[2]], 10) == [(1, ids[0]), (1, ids[1]), (2, ids[2])]


async def test_all_rows_are_read_page_by_page_up_to_a_limit(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexed_images, "ROWS_AT_ONCE", 2)
    index, ids = await begun(workplace, 7)
    images = IndexedImages(workplace.database)
    await images.add_equal(index, [EqualImage(ids[1], number, ids[1 + number]) for number in range(1, 6)])
    assert await found(workplace, index, [ids[1], ids[0]], 10) == [*((0, each) for each in ids[1:]), (1, ids[0])]
    rows = await images.all_rows(index, most=7, most_bytes=100_000)
    assert rows is not None
    assert 7 * len("https://example.org/0.jpg") < rows.size < 100_000
    assert await images.all_rows(index, most=6, most_bytes=100_000) is None
    assert await images.all_rows(index, most=7, most_bytes=rows.size - 1) is None


async def test_equal_images_go_with_their_index(workplace: Workplace) -> None:
    index, ids = await begun(workplace, 2)
    images = IndexedImages(workplace.database)
    await images.add_equal(index, [EqualImage(ids[0], 1, ids[1])])
    await workplace.indexes.remove(index.id)
    assert await workplace.rows("SELECT count(*) FROM equal_images") == [(0,)]
    with pytest.raises(LeaseLost):
        await images.add_equal(index, [EqualImage(ids[0], 1, ids[1])])


async def test_the_rows_of_a_url_are_those_of_the_revision_of_the_index(workplace: Workplace) -> None:
    place, entry = workplace, "https://example.org/entry"
    urls = [f"https://example.org/{number}.jpg" for number in range(4)]
    collection = await place.collections.create("coins")
    await place.contents.replace(
        collection, place.staged([(urls[0], entry), (urls[0], entry), (urls[1], f"{entry}/2"), (urls[2], entry)])
    )
    await place.finetune(collection)
    job = await place.jobs.claim("worker")
    assert job is not None
    index = await place.indexes.begin(job, "b")
    ids = [image.id for image in await place.images.page(collection, 1, after=0, limit=10)]
    images = IndexedImages(place.database)

    async def named() -> list[list[int]]:
        asked = [RowUrl(url, is_entry=False) for url in urls] + [RowUrl(entry, is_entry=True)]
        return [await images.with_url(index, url, 10) for url in asked]

    expected = [ids[:2], [ids[2]], [ids[3]], [], [ids[0], ids[1], ids[3]]]
    assert await named() == expected
    assert await images.views(index, [entry, "https://example.org/none"]) == {entry: 3}
    # One row ends, one begins, and one changes its entry. The index keeps the rows of its own revision.
    await place.contents.replace(collection, place.staged([(urls[0], entry), (urls[1], entry), (urls[3], entry)]))
    assert await named() == expected
    assert await images.views(index, [entry]) == {entry: 3}
    newest = [await images.newest_content_has(collection, RowUrl(url, is_entry=False)) for url in urls]
    assert newest == [True, True, False, True]
    assert await images.newest_content_has(collection, RowUrl(entry, is_entry=True))


async def test_points_tell_whether_their_index_is_live(workplace: Workplace) -> None:
    first, ids = await begun(workplace, 2)
    second, others = await begun(workplace, 1)
    images = IndexedImages(workplace.database)
    job = await workplace.jobs.get(1)
    await workplace.jobs.publish(job, first.id, 2)
    rows = await images.of_indexes([Points(second, others, 5), Points(first, ids[::-1], 1), Points(first, [], 5)])
    assert [each.is_live for each in rows] == [False, True, True]
    assert [[row.image.id for row in each.images] for each in rows] == [others, [ids[1]], []]
    await workplace.collections.mark_deleting(first.collection_id)
    assert not (await images.of_indexes([Points(first, ids, 5)]))[0].is_live
