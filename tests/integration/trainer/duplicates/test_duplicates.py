"""The duplicates of an index: found by a finetune, stored with the index, and gone with it."""

import hashlib
import io
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from PIL import Image

from catalog.duplicates.groups import CopyGroup, DuplicateGroup, DuplicateKind, Duplicates
from catalog.duplicates.miniatures import Miniature, Miniatures
from catalog.indexes import Index
from catalog.jobs import JobState, LeaseLost
from tests.integration.trainer.conftest import Trainers
from tests.integration.trainer.parts.image_host import Answer, ImageHost, picture
from tests.integration.trainer.parts.pixel_embedder import DIMENSION, PixelEmbedder
from tests.integration.workplace import Workplace
from trainer.duplicates.lookalikes import COPY
from trainer.duplicates.search import DuplicateSearch
from trainer.duplicates.verdicts import from_bytes

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("nothing_to_learn")]


def serving(data: bytes) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=data, content_type="image/png")

    return answer


def compressed(data: bytes) -> bytes:
    """Return the same pixels in another file."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(out, "PNG", compress_level=1)
    assert out.getvalue() != data
    return out.getvalue()


def look(embedder: PixelEmbedder, data: bytes, vector: np.ndarray) -> None:
    embedder.vectors[hashlib.sha256(data).hexdigest()] = vector.astype("<f4")


async def found_groups(
    workplace: Workplace, collection: int, kind: DuplicateKind | None = None
) -> list[DuplicateGroup]:
    duplicates = Duplicates(workplace.database)
    found = await duplicates.of_live_index(collection, kind)
    assert found.index_id is not None
    assert found.searched
    listed = await duplicates.page(found.index_id, kind, after=0, limit=100, images=100)
    assert found.number == len(listed)
    return listed


def names(group: DuplicateGroup) -> set[str]:
    return {image.image_url.rpartition("/")[2] for image in group.images}


async def test_identical_files_and_copies_are_grouped_and_look_alikes_are_not(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    random = np.random.default_rng(0)
    files = {name: picture(1000 + number) for number, name in enumerate(("one", "crop", "alike", "lone"))}
    seen = 60 * random.normal(size=DIMENSION)
    look(embedder, files["one"], 128 + seen)
    look(embedder, files["crop"], 128 + seen + 15 * random.normal(size=DIMENSION))
    look(embedder, files["alike"], 128 + 0.3 * seen + 60 * random.normal(size=DIMENSION))
    files |= {"again": files["lone"], "third": files["lone"], "pixels": compressed(picture(7)), "seven": picture(7)}
    host.answers |= {name: serving(data) for name, data in files.items()}
    entries = {"one": "an entry", "crop": "an entry"}
    urls = {host.url(name): entries.get(name, "none") for name in files}
    # Neither an image that failed nor others are in a group.
    urls |= dict.fromkeys([host.url("missing"), *host.picture_urls(60, first=100)], "none")
    collection = await workplace.collections.create("coins")
    await workplace.contents.replace(collection, workplace.staged(list(urls.items())))
    # A row without an entry counts as an entry of its own.
    await workplace.rows("UPDATE images SET repo_url = '' WHERE repo_url = 'none'")
    assert (await trainers.finetuned(collection)).state is JobState.DONE

    identical, equal, copy = await found_groups(workplace, collection)
    assert (identical.kind, names(identical), identical.score) == ("identical", {"lone", "again", "third"}, 1.0)
    assert (identical.number_of_images, identical.number_of_entries) == (3, 3)
    # The same pixels in different files.
    assert (equal.kind, names(equal), equal.score) == ("copy", {"pixels", "seven"}, 1.0)
    assert (copy.kind, names(copy), copy.number_of_entries) == ("copy", {"one", "crop"}, 1)
    assert COPY <= copy.score < 1
    assert await found_groups(workplace, collection, DuplicateKind.IDENTICAL) == [identical]
    assert await found_groups(workplace, collection, DuplicateKind.COPY) == [equal, copy]

    duplicates = Duplicates(workplace.database)
    _, index = await workplace.indexes.live(collection)
    assert index is not None
    listed = [row async for page in duplicates.rows(index.id, None, page=2) for row in page]
    assert [(row.ordinal, *names(row)) for row in listed] == [
        (group.ordinal, image.image_url.rpartition("/")[2])
        for group in (identical, equal, copy)
        for image in group.images
    ]
    # A second search replaces the groups, as after a lost response.
    await duplicates.replace(index, [], b"vectors")
    assert await found_groups(workplace, collection) == [identical]
    await workplace.rows("UPDATE collections SET live_index = NULL WHERE id = $1", collection)
    await workplace.indexes.remove(index.id)
    assert await workplace.rows("SELECT FROM duplicate_groups WHERE index_id = $1", index.id) == []
    assert await workplace.rows("SELECT FROM duplicate_images WHERE index_id = $1", index.id) == []
    with pytest.raises(LeaseLost):
        await duplicates.replace(index, [], b"vectors")


async def test_pictures_of_one_motif_are_told_from_copies_by_their_miniatures(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    random = np.random.default_rng(0)
    names_ = ("one", "copy", "alike", "older", "oldest")
    files = {name: picture(2000 + number) for number, name in enumerate(names_)}
    seen = 60 * random.normal(size=DIMENSION)
    first, second = (random.integers(0, 256, (24, 32), dtype=np.uint8) for _ in range(2))
    shown = {"one": first, "copy": first // 2 + 40, "alike": second, "older": first}
    for name, data in files.items():
        # All of them are near each other. Only miniatures tell them apart.
        look(embedder, data, 128 + seen + 5 * random.normal(size=DIMENSION))
        if name in shown:
            embedder.miniatures[hashlib.sha256(data).hexdigest()] = shown[name]
    host.answers |= {name: serving(data) for name, data in files.items()}
    urls = [host.url(name) for name in names_] + list(host.picture_urls(60, first=100))
    collection = await workplace.collection(urls)
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    ids = {
        str(url).rpartition("/")[2]: int(str(image))
        for image, url in await workplace.rows("SELECT id, image_url FROM images")
    }
    stored = await Miniatures(workplace.database).of_images(collection, list(ids.values()))
    assert {image: small.grey.tolist() for image, small in stored.items()} == {
        ids[name]: grey.tolist() for name, grey in shown.items()
    }
    # The image without a miniature is as near to all of them, so it is in the middle of the group.
    (group,) = await found_groups(workplace, collection, DuplicateKind.COPY)
    assert names(group) == set(names_)
    # With one, it is a copy only of those that show the same picture.
    await Miniatures(workplace.database).save(collection, {ids["oldest"]: Miniature(32, first.tobytes())})
    job = await workplace.finetune(collection, force=True)
    async with trainers.running():
        assert (await trainers.ended(job)).state is JobState.DONE
    (group,) = await found_groups(workplace, collection, DuplicateKind.COPY)
    assert names(group) == {"one", "copy", "older", "oldest"}
    # An image that was embedded again by an older embedder has no miniature.
    await Miniatures(workplace.database).save(collection, {ids["one"]: None})
    assert ids["one"] not in await Miniatures(workplace.database).of_images(collection, list(ids.values()))
    with pytest.raises(LeaseLost):
        await Miniatures(workplace.database).save(collection + 1000, {1: Miniature(1, b"1")})
    # Pairs of the same pictures count once. None of them need be compared again.
    known = from_bytes(await Miniatures(workplace.database).verdicts(collection))
    assert sorted(known.alike.values()) == [False] * 3 + [True] * 3
    with pytest.raises(LeaseLost):
        await Miniatures(workplace.database).save_verdicts(collection + 1000, b"")


async def test_the_copies_among_the_same_vectors_are_looked_for_once(
    trainers: Trainers, workplace: Workplace, host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    search = DuplicateSearch._copies_among

    async def noted(self: DuplicateSearch, index: Index, *arguments: Any) -> list[CopyGroup]:
        searched.append(index.qdrant_collection)
        return await search(self, index, *arguments)

    monkeypatch.setattr(DuplicateSearch, "_copies_among", noted)
    host.answers |= {
        "one": serving(picture(7)), "other": serving(compressed(picture(7))), "again": serving(picture(7)),
        "lone": serving(picture(8)), "lonely": serving(compressed(picture(8))),
    }  # fmt: skip
    urls = [host.url(name) for name in ("one", "other", "again", "lone")] + list(host.picture_urls(60, first=100))
    collection = await workplace.collection(urls)
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    groups = await found_groups(workplace, collection)
    assert [(group.kind, names(group)) for group in groups] == [
        ("identical", {"one", "again"}),
        ("copy", {"one", "other", "again"}),
    ]
    assert len(searched) == 1
    # The rows change, but no picture.
    await workplace.contents.replace(collection, workplace.staged([(url, "an entry") for url in urls]))
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    again = await found_groups(workplace, collection)
    assert [(group.kind, names(group)) for group in again] == [(group.kind, names(group)) for group in groups]
    assert [group.number_of_entries for group in again] == [1, 1]
    assert len(searched) == 1
    # One more picture.
    await workplace.contents.replace(
        collection, workplace.staged([(url, "an entry") for url in [*urls, host.url("lonely")]])
    )
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    assert {"lone", "lonely"} in [names(group) for group in await found_groups(workplace, collection)]
    assert len(searched) == 2


async def test_a_search_that_fails_does_not_fail_the_finetune(
    trainers: Trainers, workplace: Workplace, host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.duplicates.vector_file.FREE_BYTES", 1 << 60)
    collection = await workplace.collection(host.picture_urls(5))
    job = await trainers.finetuned(collection)
    assert (job.state, job.error_code) == (JobState.DONE, None)
    found = await Duplicates(workplace.database).of_live_index(collection, None)
    assert found.index_id is not None
    assert (found.searched, found.number) == (False, 0)


async def test_a_lost_lease_ends_the_search_and_the_attempt(
    trainers: Trainers, workplace: Workplace, host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = DuplicateSearch.run
    tried: list[int] = []

    async def lost_once(self: DuplicateSearch, *arguments: Any) -> int:
        tried.append(len(tried))
        if len(tried) == 1:
            raise LeaseLost("The index has been removed.")
        return await searched(self, *arguments)

    monkeypatch.setattr(DuplicateSearch, "run", lost_once)
    collection = await workplace.collection(host.picture_urls(5))
    job = await workplace.finetune(collection)
    async with trainers.running(lease_seconds=1.0):
        assert (await trainers.ended(job)).state is JobState.DONE
    assert len(tried) == 2
    assert (await Duplicates(workplace.database).of_live_index(collection, None)).searched
