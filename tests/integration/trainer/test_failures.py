"""Bad images affect their own rows only, and a job that cannot succeed fails with a reason."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from catalog.jobs import JobState
from tests.eventually import eventually
from tests.integration.qdrant_process import running_qdrant
from tests.integration.trainer.conftest import Trainers
from tests.integration.trainer.parts.faults import body, faulty, status
from tests.integration.trainer.parts.image_host import ImageHost, picture
from tests.integration.trainer.parts.pixel_embedder import DIMENSION, PixelEmbedder
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def reasons(workplace: Workplace, collection: int) -> dict[str, str]:
    """Return the failures of the live index, by URL."""
    _, index = await workplace.indexes.live(collection)
    assert index is not None
    failures = await workplace.indexes.failures(index.id)
    images = await workplace.images.by_id(collection, index.revision, [failure.image_id for failure in failures])
    return {images[failure.image_id].image_url: failure.reason for failure in failures}


async def test_each_bad_image_gets_its_reason_and_all_others_are_indexed(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    expected = faulty(host)
    good = host.picture_urls(39)
    urls = [url for pair in zip(good, [*expected, *good], strict=False) for url in pair][: len(expected) * 2]
    collection = await workplace.collection([*urls, *good[len(expected) :]])
    job = await trainers.finetuned(collection, download_seconds=5.0, max_image_bytes=1_000_000)
    assert (job.state, job.error_message) == (JobState.DONE, None)
    assert await reasons(workplace, collection) == expected
    rows = await workplace.rows("SELECT image_count FROM collections c JOIN indexes i ON i.id = c.live_index")
    assert rows == [(39,)]


async def test_a_job_with_only_blocked_addresses_fails_without_a_request(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(2))
    job = await trainers.finetuned(collection, allow_private_addresses=False)
    assert (job.state, job.error_code) == (JobState.FAILED, "no_images_indexed")
    assert "blocked_address: 2" in (job.error_message or "")
    assert not host.requests


async def test_blocked_addresses_are_tried_again_once_the_settings_allow_them(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(2))
    for _ in range(2):
        job = await trainers.finetuned(collection, allow_private_addresses=False)
        assert (job.state, job.error_code) == (JobState.FAILED, "no_images_indexed")
    assert not host.requests
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    assert await reasons(workplace, collection) == {}


async def test_a_job_without_a_good_image_fails_and_the_previous_index_stays(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(3))
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    _, before = await workplace.indexes.live(collection)
    host.answers["text"] = status(404)
    await workplace.fill(collection, [host.url("text"), host.url("nothing")])
    job = await trainers.finetuned(collection)
    assert (job.state, job.error_code) == (JobState.FAILED, "no_images_indexed")
    assert "not_found: 2" in (job.error_message or "")
    assert (await workplace.indexes.live(collection))[1] == before


async def test_too_many_transient_failures_fail_the_job_and_the_next_one_continues(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    away = [host.url(f"away-{number}") for number in range(6)]
    host.answers |= {f"away-{number}": status(503) for number in range(6)}
    collection = await workplace.collection([*host.picture_urls(5), *away])
    job = await trainers.finetuned(collection)
    assert (job.state, job.error_code) == (JobState.FAILED, "too_many_failures")
    job = await trainers.finetuned(collection, max_transient_failures=0.6)
    assert job.state is JobState.DONE
    assert await reasons(workplace, collection) == dict.fromkeys(away, "server_error")
    assert set(host.pictures_served.values()) == {1}
    assert set(embedder.embedded.values()) == {1}


async def test_permanent_failures_are_tried_again_only_by_force(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    host.answers |= {"away": status(503), "page": body(b"GIF", "image/gif"), "gone": status(410)}
    bad = {host.url("away"): "server_error", host.url("page"): "not_an_image", host.url("gone"): "not_found"}
    collection = await workplace.collection([*host.picture_urls(5), *bad])
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    # The failure of a removed row is removed with it.
    bad.pop(host.url("gone"))
    await workplace.fill(collection, [*host.picture_urls(6), *bad])
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    assert await reasons(workplace, collection) == bad
    assert (host.requests["away"], host.requests["page"], host.requests["gone"]) == (2, 1, 1)
    host.answers["page"] = body(picture(9))
    job = await workplace.finetune(collection, force=True)
    async with trainers.running():
        assert (await trainers.ended(job)).state is JobState.DONE
    assert await reasons(workplace, collection) == {host.url("away"): "server_error"}
    assert (host.requests["away"], host.requests["page"]) == (3, 2)
    assert set(host.pictures_served.values()) == {1}
    # Failures of an older index do not come back.
    await workplace.fill(collection, [*host.picture_urls(7), *bad])
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    assert await reasons(workplace, collection) == {host.url("away"): "server_error"}


async def test_one_good_image_among_permanent_failures_is_enough(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection([*host.picture_urls(1), *(host.url(f"no-{n}") for n in range(9))])
    assert (await trainers.finetuned(collection)).state is JobState.DONE


async def test_equal_urls_are_downloaded_once_and_indexed_once_per_row(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(host.picture_urls(3) * 5)
    job = await trainers.finetuned(collection)
    assert job.state is JobState.DONE
    assert await workplace.rows("SELECT image_count FROM indexes") == [(15,)]
    assert set(host.pictures_served.values()) == {1}
    assert set(embedder.embedded.values()) == {1}


async def test_downloads_at_a_time_are_limited_for_each_host(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(39)))
    host.delay = 0.05
    async with trainers.running(downloads_per_host=3):
        await eventually(lambda: host.under_way == 3)
        assert (await trainers.ended(job)).state is JobState.DONE
    assert host.most_under_way == 3


async def test_an_unusable_vector_costs_only_its_own_row(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    urls = host.picture_urls(6)
    embedder.vectors |= {
        hashlib.sha256(picture(1)).hexdigest(): np.full(DIMENSION, np.nan, np.float32),
        hashlib.sha256(picture(2)).hexdigest(): np.ones(DIMENSION - 1, np.float32),
        hashlib.sha256(picture(3)).hexdigest(): np.zeros(DIMENSION, np.float32),
    }
    collection = await workplace.collection(urls)
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    assert await reasons(workplace, collection) == {urls[1]: "embedding_failed", urls[2]: "embedding_failed"}


async def test_a_full_disk_fails_the_job(
    trainers: Trainers, workplace: Workplace, host: ImageHost, tmp_path: Path
) -> None:
    collection = await workplace.collection(host.picture_urls(3))
    async with running_qdrant(tmp_path / "full", "--min-free-mb", str(1 << 30)) as full:
        job = await trainers.finetuned(collection, qdrant_address=f"{full.host}:{full.grpc_port}")
    assert (job.state, job.error_code) == (JobState.FAILED, "no_space")
