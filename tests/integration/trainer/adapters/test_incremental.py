"""The second finetune of a collection: when the adapter of the first one is kept."""

import hashlib
import json
from struct import unpack_from

import numpy as np
import pytest

from catalog.vectors.projection import Projection
from servicekit.version import VERSION
from tests.integration.trainer.conftest import Trainers
from tests.integration.trainer.parts.adapters import finetuned, live, serve_instead
from tests.integration.trainer.parts.image_host import ImageHost, picture
from tests.integration.trainer.parts.pixel_embedder import DIMENSION, PixelEmbedder
from tests.integration.workplace import Workplace

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("nothing_to_learn")]

IMAGES = 500
OBJECTS = 100


@pytest.fixture
def urls(host: ImageHost) -> list[str]:
    return host.picture_urls(IMAGES + 40)


async def test_an_adapters_file_contains_its_lineage(
    trainers: Trainers, workplace: Workplace, urls: list[str], embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(urls[:60])
    quality = await finetuned(trainers, workplace, collection)
    adapter, _ = await live(workplace, collection)
    (size,) = unpack_from("<Q", adapter.weights)
    lineage = json.loads(adapter.weights[8 : 8 + size])["__metadata__"]
    assert lineage["backbone"] == embedder.checksum
    assert json.loads(lineage["revision"]) == quality["revision"] == 1
    assert json.loads(lineage["version"]) == quality["version"] == VERSION
    assert json.loads(lineage["images"]) == 60


async def test_after_few_changes_the_adapter_is_kept_with_its_lineage(
    trainers: Trainers, workplace: Workplace, urls: list[str]
) -> None:
    collection = await workplace.collection(urls[:IMAGES])
    await finetuned(trainers, workplace, collection)
    first, _ = await live(workplace, collection)
    await workplace.fill(collection, urls[10 : IMAGES + 10])
    quality = await finetuned(trainers, workplace, collection)
    kept, _ = await live(workplace, collection)
    assert (quality["kept"], quality["changed"], quality["revision"]) == (True, 10 / IMAGES, 1)
    # Among the new images are some that look like earlier ones; those are no queries.
    assert 0 < quality["unseen"]["views"]["queries"] <= 10
    np.testing.assert_array_equal(
        Projection.from_bytes(kept.weights).matrix, Projection.from_bytes(first.weights).matrix
    )
    # Changes add up until the adapter is not kept any more.
    await workplace.fill(collection, urls[40 : IMAGES + 40])
    quality = await finetuned(trainers, workplace, collection)
    assert "kept" not in quality
    assert quality["revision"] == 3


async def test_an_adapter_that_harms_new_images_is_not_kept(
    trainers: Trainers, workplace: Workplace, urls: list[str], embedder: PixelEmbedder
) -> None:
    seen = np.random.default_rng(1).normal(size=(OBJECTS, DIMENSION))
    for number in range(IMAGES + 25):
        changed = seen[number % OBJECTS] + 0.3 * np.random.default_rng(number).normal(size=DIMENSION)
        embedder.vectors[hashlib.sha256(picture(number)).hexdigest()] = changed.astype("<f4")
    rows = [(url, f"https://repository.example/{number % OBJECTS}") for number, url in enumerate(urls)]
    collection = await workplace.collections.create("coins")
    await workplace.contents.replace(collection, workplace.staged(rows[:IMAGES]))
    await finetuned(trainers, workplace, collection)
    first, _ = await live(workplace, collection)
    ruined = np.random.default_rng(0).normal(size=Projection.from_bytes(first.weights).matrix.shape)
    ruined[:, 1:] = 0
    await serve_instead(workplace, collection, ruined.astype(np.float32))
    await workplace.contents.replace(collection, workplace.staged(rows[: IMAGES + 25]))
    quality = await finetuned(trainers, workplace, collection)
    assert "kept" not in quality
    assert quality["revision"] == 2


async def test_a_refresh_and_another_backbone_make_a_new_adapter(
    trainers: Trainers, workplace: Workplace, urls: list[str], embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(urls[:60])
    await finetuned(trainers, workplace, collection)
    assert (await finetuned(trainers, workplace, collection, force=True))["kept"]
    assert "kept" not in await finetuned(trainers, workplace, collection, refresh=True)
    embedder.checksum = "pixels-2-" + "0" * 55
    assert "kept" not in await finetuned(trainers, workplace, collection, force=True)
    adapter, _ = await live(workplace, collection)
    assert adapter.backbone == embedder.checksum
