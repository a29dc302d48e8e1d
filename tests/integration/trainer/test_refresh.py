"""A refresh asks hosts about all images, and downloads and embeds those that changed."""

import asyncio

import pytest
from aiohttp import web

from catalog.jobs import Job, JobState
from tests.eventually import eventually
from tests.integration.trainer.conftest import Trainers
from tests.integration.trainer.parts.faults import body, redirect, status
from tests.integration.trainer.parts.image_host import Answer, ImageHost, picture
from tests.integration.trainer.parts.pixel_embedder import PixelEmbedder
from tests.integration.trainer.parts.trainer_process import trainer_process
from tests.integration.trainer.test_failures import reasons
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")

DATE = "Tue, 03 Nov 2026 10:00:00 GMT"


def versioned(number: int, *, etag: str | None = None, last_modified: str | None = None) -> Answer:
    """Answer with a picture that has validators, or with a 304 if the client has that version."""

    async def answer(request: web.Request) -> web.Response:
        tags = {"ETag": etag} if etag else {}
        dates = {"Last-Modified": last_modified} if last_modified else {}
        same_tag = etag is not None and request.headers.get("If-None-Match") == etag
        if same_tag or (last_modified is not None and request.headers.get("If-Modified-Since") == last_modified):
            return web.Response(status=304, headers=tags | dates)
        return web.Response(body=picture(number), content_type="image/png", headers=tags | dates)

    return answer


async def refreshed(trainers: Trainers, workplace: Workplace, collection: int) -> Job:
    """Refresh a collection and return the job when it has ended."""
    job, _ = await workplace.jobs.enqueue(collection, backbone=None, force=False, refresh=True)
    assert job is not None
    async with trainers.running():
        return await trainers.ended(job)


async def test_unchanged_images_are_neither_sent_nor_embedded_again(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    host.answers |= {
        "tagged": versioned(1, etag='"one"'),
        "dated": versioned(2, last_modified=DATE),
        "changes": versioned(3, etag='"old"'),
        "goes": versioned(4, etag='"four"'),
        "unversioned": body(picture(5)),
        "redirected": redirect("tagged"),
    }
    urls = [host.url(path) for path in ("tagged", "dated", "changes", "goes", "unversioned", "redirected")]
    # Rows with equal URLs share the result.
    collection = await workplace.collection([*urls, urls[0]])
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    embedder.embedded.clear()
    host.answers |= {"changes": versioned(30, etag='"new"'), "goes": status(404)}
    job = await refreshed(trainers, workplace, collection)
    assert (job.state, job.error_message) == (JobState.DONE, None)
    # "changes", and the two without a version of their own.
    assert embedder.embedded.total() == 3
    assert await reasons(workplace, collection) == {host.url("goes"): "not_found"}
    _, index = await workplace.indexes.live(collection)
    assert index is not None
    assert await workplace.rows("SELECT image_count FROM indexes WHERE id = $1", index.id) == [(6,)]
    # The two rows of "tagged" and "redirected" show the same picture, and share a point.
    assert (await workplace.client.count(index.qdrant_collection, exact=True)).count == 4
    page = await workplace.images.page(collection, 1, after=0, limit=10)
    known = await workplace.base_stores.of(collection, embedder.checksum).existing([image.id for image in page])
    assert known == {image.id for image in page if image.image_url != host.url("goes")}
    # The next refresh asks for a version newer than the new one.
    embedder.embedded.clear()
    assert (await refreshed(trainers, workplace, collection)).state is JobState.DONE
    assert embedder.embedded.total() == 2


async def test_unchanged_images_are_embedded_again_by_another_backbone(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    host.answers["tagged"] = versioned(1, etag='"one"')
    collection = await workplace.collection([host.url("tagged")])
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    embedder.checksum = "pixels-2-" + "0" * 55
    assert (await refreshed(trainers, workplace, collection)).state is JobState.DONE
    assert embedder.embedded.total() == 2


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_killed_refresh_does_not_start_over(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    urls = host.picture_urls(100)
    collection = await workplace.collection(urls)
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    embedder.embedded.clear()
    embedder.delay = 0.01
    job, _ = await workplace.jobs.enqueue(collection, backbone=None, force=False, refresh=True)
    assert job is not None
    settings = trainers.settings(lease_seconds=4.0)
    async with trainer_process(settings) as process:
        await eventually(lambda: embedder.embedded.total() > 50)
        process.kill()
        await process.wait()
    async with trainers.running(lease_seconds=4.0):
        assert (await trainers.ended(job)).state is JobState.DONE
    assert len(embedder.embedded) == 100
    assert embedder.embedded.total() <= 105


async def test_an_unrequested_304_is_a_failure(trainers: Trainers, workplace: Workplace, host: ImageHost) -> None:
    host.answers["odd"] = status(304)
    collection = await workplace.collection([host.url("odd"), *host.picture_urls(1)])
    async with asyncio.timeout(60):
        assert (await trainers.finetuned(collection)).state is JobState.DONE
    assert await reasons(workplace, collection) == {host.url("odd"): "http_error"}
