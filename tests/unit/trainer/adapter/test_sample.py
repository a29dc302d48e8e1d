"""The training sample: whole objects, and individual images if their repository URL says nothing."""

import numpy as np
import pytest

from catalog.images import Image
from trainer.adapter import sample as module
from trainer.adapter.object_number import object_number
from trainer.adapter.pca import spanning_object
from trainer.adapter.sample import Sample

COUNT, ROOM = 2000, 500


def sampled(repo_urls: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Image]:
    monkeypatch.setattr(module, "MAX_SAMPLE", ROOM)
    images = [Image(number + 1, f"https://images.example/{number}", url, 1) for number, url in enumerate(repo_urls)]
    spanning = spanning_object(np.array([object_number(url) for url in repo_urls], dtype=np.int64))
    sample = Sample(len(images), 0, spanning)
    return [images[row] for row in sample.rows(images)]


@pytest.mark.parametrize("repo_url", ["", "https://repository.example/all"])
def test_images_without_a_distinctive_repository_url_are_drawn_individually(
    repo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0.8 * ROOM < len(sampled([repo_url] * COUNT, monkeypatch)) <= ROOM


def test_objects_are_drawn_with_all_of_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sampled([f"https://repository.example/{number // 4}" for number in range(COUNT)], monkeypatch)
    assert 0.6 * ROOM < len(found) <= ROOM
    _, counts = np.unique([image.repo_url for image in found], return_counts=True)
    # The last object may find no room for all of its images.
    assert (counts == 4).sum() >= len(counts) - 1
