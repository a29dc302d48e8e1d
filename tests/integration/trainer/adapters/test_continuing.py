"""Finetunes of a collection of which a large part has changed: the training continues from the live adapter."""

import hashlib
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from catalog.vectors.projection import Projection
from tests.integration.trainer.conftest import Trainers
from tests.integration.trainer.parts.adapters import finetuned, live, serve_instead
from tests.integration.trainer.parts.image_host import ImageHost, picture
from tests.integration.trainer.parts.pixel_embedder import DIMENSION, PixelEmbedder
from tests.integration.workplace import Workplace
from trainer.adapter import fit as learned_adapter
from trainer.fetch.view_sample import VIEWS

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Objects of one kind that are known at first and that are added later, objects of another kind, and images of each.
KNOWN, CAME, OTHERS, EACH = 10, 7, 6, 10
# The first NUMBERS numbers of a vector are not 0. SIGNAL of them say which object the image shows.
SIGNAL, NUMBERS = 4, 24
# Enough for vectors that tell objects apart so clearly. Each step takes time.
STEPS = 100


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned_adapter, "MIN_STEPS", STEPS)


def show(embedder: PixelEmbedder, number: int, first: int) -> None:
    """Set the vectors of a picture and its views.

    SIGNAL numbers from `first` on say which object it shows. The others are noise, half of which a view shares.
    """
    random = np.random.default_rng(number)
    vectors = np.zeros((1 + VIEWS, DIMENSION))
    vectors[:, :NUMBERS] = 1.2 * random.normal(size=(1 + VIEWS, NUMBERS))
    vectors[1:] = (vectors[0] + vectors[1:]) / 2
    which = np.random.default_rng(10_000 + number // EACH).normal(size=SIGNAL)
    vectors[:, first : first + SIGNAL] = which + 0.1 * random.normal(size=SIGNAL)
    digest = hashlib.sha256(picture(number)).hexdigest()
    embedder.vectors[digest], embedder.views[digest] = vectors[0].astype("<f4"), vectors[1:].astype("<f4")


@pytest.fixture
def objects(host: ImageHost, embedder: PixelEmbedder) -> list[list[tuple[str, str]]]:
    """Rows by object: KNOWN and CAME of one kind, and OTHERS whose signal is in other numbers."""
    count = KNOWN + CAME + OTHERS
    for number in range(count * EACH):
        show(embedder, number, 0 if number < (KNOWN + CAME) * EACH else NUMBERS - SIGNAL)
    urls = host.picture_urls(count * EACH)
    return [
        [(url, f"https://repository.example/{number}") for url in urls[number * EACH : (number + 1) * EACH]]
        for number in range(count)
    ]


@pytest.fixture
def known(objects: list[list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [row for each in objects[:KNOWN] for row in each]


async def finetuned_with(
    trainers: Trainers, workplace: Workplace, collection: int, rows: list[tuple[str, str]]
) -> dict[str, Any]:
    await workplace.contents.replace(collection, workplace.staged(rows))
    return await finetuned(trainers, workplace, collection)


@pytest_asyncio.fixture(loop_scope="session")
async def collection(
    trainers: Trainers, workplace: Workplace, known: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> int:
    """A collection with the known objects, whose adapter is still the PCA: the tests replace it."""
    created = await workplace.collections.create("coins")
    with monkeypatch.context() as patch:
        patch.setattr(learned_adapter, "MIN_IMAGES", 1_000_000)
        await finetuned_with(trainers, workplace, created, known)
    return created


async def test_training_continues_from_the_live_adapter_with_the_new_images(
    trainers: Trainers, workplace: Workplace, objects: list[list[tuple[str, str]]], known: list[tuple[str, str]]
) -> None:
    collection = await workplace.collections.create("coins")
    quality = await finetuned_with(trainers, workplace, collection, known)
    assert (quality["adapter"], quality["continued"]) == ("learned", False), quality
    rows = [row for each in objects[: KNOWN + CAME] for row in each]
    quality = await finetuned_with(trainers, workplace, collection, rows)
    assert (quality["adapter"], quality["continued"], quality["revision"]) == ("learned", True, 2), quality
    # Only the new images were queries, for this adapter and the previous one.
    part = quality["parts"]["groups_seen"]
    assert part["queries"] <= CAME * EACH
    assert part["adapter"]["map"] > max(part[space]["map"] for space in ("frozen", "pca", "kept"))


async def test_the_live_adapter_is_kept_if_training_does_not_improve_it(
    trainers: Trainers, workplace: Workplace, objects: list[list[tuple[str, str]]], collection: int
) -> None:
    perfect = np.zeros((DIMENSION, NUMBERS), np.float32)
    np.fill_diagonal(perfect, np.where(np.arange(NUMBERS) < SIGNAL, 1, 0.05))
    await serve_instead(workplace, collection, perfect)
    rows = [row for each in objects[: KNOWN + CAME] for row in each]
    quality = await finetuned_with(trainers, workplace, collection, rows)
    assert (quality["kept"], quality["changed"], quality["revision"]) == (True, CAME / (KNOWN + CAME), 1)
    assert quality["unseen"]["groups_seen"]["queries"] <= CAME * EACH
    adapter, _ = await live(workplace, collection)
    np.testing.assert_array_equal(Projection.from_bytes(adapter.weights).matrix, perfect)


async def test_training_starts_over_if_the_live_adapter_harms_the_new_images(
    trainers: Trainers, workplace: Workplace, objects: list[list[tuple[str, str]]], collection: int
) -> None:
    blind = np.zeros((DIMENSION, NUMBERS), np.float32)
    np.fill_diagonal(blind, np.where(np.arange(NUMBERS) < NUMBERS - SIGNAL, 1, 0))
    await serve_instead(workplace, collection, blind)
    rows = [row for each in objects[:KNOWN] + objects[-OTHERS:] for row in each]
    quality = await finetuned_with(trainers, workplace, collection, rows)
    assert (quality["adapter"], quality["continued"], quality["revision"]) == ("learned", False, 2), quality
