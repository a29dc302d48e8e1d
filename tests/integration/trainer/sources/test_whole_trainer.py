"""A whole trainer: it reads a source, and finetunes what it has read."""

import pytest

from catalog.sources.sources import NewSource, Sources, SourceType
from tests.integration.trainer.conftest import Trainers, until
from tests.integration.trainer.parts.image_host import image_host
from tests.integration.trainer.sources.iiif_host import IiifHost

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_source_is_read_and_finetuned(trainers: Trainers, host: IiifHost) -> None:
    place = trainers.workplace
    async with image_host() as images:
        manifests = [host.manifest(f"m{n}", url) for n, url in enumerate(images.picture_urls(6))]
        url = host.collection("top", *[("Manifest", manifest) for manifest in manifests])
        source = NewSource(SourceType.IIIF, url, then_finetune=True)
        collection, _ = await Sources(place.database).create_collection("leaves", source, "a key")

        async def is_indexed() -> bool:
            return (await place.collections.get(collection)).live_images == 6

        async with trainers.running():
            await until(is_indexed)
    found = await place.collections.get(collection)
    assert (found.row_count, found.live_is_newest) == (6, True)
    assert [content.key_name for content in await place.contents.kept(collection)] == ["a key"]


async def test_a_source_that_is_due_is_read(trainers: Trainers, host: IiifHost) -> None:
    place = trainers.workplace
    sources = Sources(place.database)
    url = host.manifest("m", "http://images.example/1.jpg")
    collection, _ = await sources.create_collection("leaves", NewSource(SourceType.IIIF, url), None)
    await place.rows("UPDATE source_readings SET state = 'cancelled'")
    await place.rows("UPDATE sources SET refresh = 'daily', next_reading = now()")

    async def is_read() -> bool:
        return (await place.collections.get(collection)).row_count == 1

    async with trainers.running():
        await until(is_read)
    source = await sources.find(collection)
    assert source is not None
    assert source.next_reading is not None
    assert source.last_read is not None
    assert source.next_reading > source.last_read
