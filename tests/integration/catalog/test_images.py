"""An image keeps its id while its URL stays, and rows that do not change are not written."""

import random
from collections import Counter

import pytest

from catalog.images import Image
from catalog.indexes import ImageFailure
from servicekit.errors import InvalidRequest
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")

Row = tuple[str, str]


def rows(*names: str) -> list[Row]:
    """Make one row for each name."""
    return [
        (f"https://example.org/{name}/full/512,/0/default.jpg", f"https://repo.example.org/{name}") for name in names
    ]


async def stored(place: Workplace, collection: int, revision: int) -> dict[str, int]:
    """Return ids by name. Further occurrences of a URL are numbered: a, a.2, a.3."""
    found: dict[str, int] = {}
    seen: Counter[str] = Counter()
    for image in await place.images.page(collection, revision, after=0, limit=1000):
        name = image.image_url.split("/")[3]
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name}.{seen[name]}"] = image.id
    return found


async def replaced(place: Workplace, collection: int, content: list[Row]) -> int:
    return (await place.contents.replace(collection, place.staged(content))).revision


async def test_ids_stay_when_rows_are_added_removed_and_moved(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    first = await stored(workplace, collection, await replaced(workplace, collection, rows("a", "b", "c")))
    second = await stored(workplace, collection, await replaced(workplace, collection, rows("c", "d", "a")))
    assert {name: second[name] for name in "ac"} == {name: first[name] for name in "ac"}
    assert second["d"] not in first.values()
    # An image that was absent for a revision gets a new id, because its vectors may have been removed.
    third = await stored(workplace, collection, await replaced(workplace, collection, rows("b", "a")))
    assert third["a"] == first["a"]
    assert third["b"] not in first.values()


async def test_equal_urls_are_separate_images(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    first = await stored(workplace, collection, await replaced(workplace, collection, rows("a", "a", "b")))
    assert len(set(first.values())) == 3
    second = await stored(workplace, collection, await replaced(workplace, collection, rows("b", "a", "a", "a")))
    assert {name: second[name] for name in first} == first
    third = await stored(workplace, collection, await replaced(workplace, collection, rows("a")))
    assert third == {"a": first["a"]}


async def test_a_new_repository_url_keeps_the_id_and_old_revisions_keep_the_old_url(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    await replaced(workplace, collection, rows("a", "b"))
    before = await workplace.images.page(collection, 1, after=0, limit=10)
    url = before[0].image_url
    await replaced(workplace, collection, [(url, "https://repo.example.org/moved"), *rows("b")])
    after = await workplace.images.page(collection, 2, after=0, limit=10)
    assert after == [Image(before[0].id, url, "https://repo.example.org/moved", since=2), before[1]]
    assert await workplace.images.page(collection, 1, after=0, limit=10) == before
    by_id = await workplace.images.by_id(collection, 1, [before[0].id, before[1].id, 10**9])
    assert by_id == {image.id: image for image in before}


async def test_adding_one_row_writes_one_row(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    names = [str(number) for number in range(500)]
    await replaced(workplace, collection, rows(*names))
    await replaced(workplace, collection, rows("new", *names))
    written = await workplace.rows("SELECT xmin::text, count(*) FROM images GROUP BY 1 ORDER BY 2")
    assert [count for _, count in written] == [1, 500]


async def test_the_same_bytes_again_change_nothing(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    staged = workplace.staged(rows("a", "b"))
    assert (await workplace.contents.replace(collection, staged)).changed
    before = await workplace.collections.get(collection)
    again = await workplace.contents.replace(collection, staged)
    assert (again.revision, again.changed) == (1, False)
    assert await workplace.collections.get(collection) == before


async def test_pages_contain_every_image_once_in_order(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    await replaced(workplace, collection, rows(*(str(number) for number in range(25))))
    whole = await workplace.images.page(collection, 1, after=0, limit=100)
    paged: list[Image] = []
    while page := await workplace.images.page(collection, 1, after=paged[-1].id if paged else 0, limit=10):
        paged += page
    assert paged == whole
    assert await workplace.images.count(collection, 1) == 25


async def test_every_revision_of_a_random_history_reads_back(workplace: Workplace) -> None:
    chance = random.Random(5)
    collection = await workplace.collections.create("coins")
    history: dict[int, Counter[Row]] = {}
    for _ in range(12):
        content = [
            (f"https://example.org/{chance.choice('abcdef')}", f"https://r.example.org/{chance.randint(1, 3)}")
            for _ in range(chance.randint(1, 12))
        ]
        history[await replaced(workplace, collection, content)] = Counter(content)
    for revision, expected in history.items():
        images = await workplace.images.page(collection, revision, after=0, limit=100)
        assert Counter((image.image_url, image.repo_url) for image in images) == expected
        assert len({image.id for image in images}) == len(images)


async def test_only_images_that_no_content_contains_are_removed(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    await replaced(workplace, collection, rows("a", "b", "c"))
    first = await stored(workplace, collection, 1)
    url = rows("a")[0][0]
    await replaced(workplace, collection, [(url, "https://repo.example.org/moved"), *rows("c")])
    assert await workplace.images.unreferenced(collection, 10) == []
    assert await workplace.images.collections_with_ended_spans() == []
    await workplace.contents.prune(0)
    assert await workplace.images.collections_with_ended_spans() == [collection]
    assert await workplace.images.unreferenced(collection, 10) == [first["b"]]
    await workplace.images.remove(collection, [first["b"]])
    await workplace.images.remove_ended_spans(collection)
    assert await workplace.images.collections_with_ended_spans() == []
    assert await workplace.rows("SELECT count(*) FROM images") == [(2,)]
    assert await stored(workplace, collection, 2) == {name: first[name] for name in "ac"}


async def test_a_content_reads_back_byte_for_byte_until_nothing_pins_it(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    staged = workplace.staged(rows(*(str(number) for number in range(20_000))))
    assert staged.csv.stat().st_size > 1 << 20
    await workplace.contents.replace(collection, staged)
    assert b"".join([chunk async for chunk in workplace.contents.read(collection, 1)]) == staged.csv.read_bytes()
    assert [chunk async for chunk in workplace.contents.read(collection, 0)] == []
    await workplace.finetune(collection)
    await replaced(workplace, collection, rows("a"))
    await workplace.contents.prune(0)
    assert [chunk async for chunk in workplace.contents.read(collection, 1)]
    await workplace.jobs.cancel_active(collection)
    await workplace.contents.prune(3600)
    assert [chunk async for chunk in workplace.contents.read(collection, 1)]
    await replaced(workplace, collection, rows("b"))
    await replaced(workplace, collection, rows("c"))
    await workplace.contents.prune(0)
    assert await workplace.rows("SELECT revision FROM contents ORDER BY 1") == [(2,), (3,), (4,)]


async def test_the_last_three_contents_stay_but_not_their_images(workplace: Workplace) -> None:
    collection, other = [await workplace.collections.create(name) for name in ("coins", "maps")]
    await replaced(workplace, other, rows("z"))
    for name in "abcde":
        await replaced(workplace, collection, rows(name))
    assert [(kept.revision, kept.row_count) for kept in await workplace.contents.kept(collection)] == [
        (5, 1),
        (4, 1),
        (3, 1),
    ]
    await workplace.contents.prune(0)
    kept = await workplace.rows(
        "SELECT revision, retired FROM contents WHERE collection_id = $1 ORDER BY 1", collection
    )
    assert kept == [(3, True), (4, True), (5, False)]
    gone = await workplace.images.unreferenced(collection, 10)
    assert len(gone) == 4
    await workplace.images.remove(collection, gone)
    assert [chunk async for chunk in workplace.contents.read(collection, 3)]
    assert list(await stored(workplace, collection, 5)) == ["e"]
    assert list(await stored(workplace, other, 1)) == ["z"]


async def test_a_content_that_is_no_longer_listed_stays_for_downloads_that_began_before(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    for name in "abc":
        await replaced(workplace, collection, rows(name))
    async with workplace.database.connection() as connection:
        await connection.execute("UPDATE contents SET superseded_at = now() - interval '1 hour' WHERE revision < 3")
    await replaced(workplace, collection, rows("d"))
    await workplace.contents.prune(60)
    assert [kept.revision for kept in await workplace.contents.kept(collection)] == [4, 3, 2]
    assert [chunk async for chunk in workplace.contents.read(collection, 1)]
    await workplace.contents.prune(0)
    with pytest.raises(InvalidRequest):
        await anext(workplace.contents.read(collection, 1))


async def test_a_download_fails_if_the_content_is_removed_halfway(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    await workplace.contents.replace(collection, workplace.staged(rows(*(str(number) for number in range(20_000)))))
    chunks = workplace.contents.read(collection, 1)
    assert await anext(chunks)
    await workplace.collections.mark_deleting(collection)
    await workplace.collections.remove(collection)
    with pytest.raises(InvalidRequest) as caught:
        await anext(chunks)
    assert caught.value.code == "collection_not_found"


async def test_a_sample_is_reproducible_and_leaves_out_failed_images(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    ids = await stored(workplace, collection, await replaced(workplace, collection, rows(*map(str, range(300)))))
    await workplace.jobs.enqueue(collection, backbone=None, force=False)
    job = await workplace.jobs.claim("worker")
    assert job is not None
    index = await workplace.indexes.begin(job, "b")
    bad = set(list(ids.values())[:100])
    await workplace.indexes.add_failures(index, [ImageFailure(image, "not_found", "") for image in bad])
    sample = [image.id for image in await workplace.images.sample(collection, 1, index.id, 50)]
    assert len(set(sample)) == 50
    assert set(sample) <= set(ids.values()) - bad
    # Drawn from the whole content, not from its beginning.
    assert max(sample) - min(sample) > 150
    assert [image.id for image in await workplace.images.sample(collection, 1, index.id, 50)] == sample
    assert len(await workplace.images.sample(collection, 1, index.id, 1000)) == 200
