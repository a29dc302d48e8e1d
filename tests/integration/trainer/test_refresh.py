"""A refresh asks hosts about all images, and downloads and embeds those that changed."""

import asyncio
import hashlib

import pytest
from aiohttp import web

from catalog.image_versions import ImageVersions
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


async def refreshed(trainers: Trainers, workplace: Workplace, collection: int, *, force: bool = False) -> Job:
    """Refresh a collection and return the job when it has ended."""
    job, _ = await workplace.jobs.enqueue(collection, backbone=None, force=force, refresh=True)
    assert job is not None
    async with trainers.running():
        return await trainers.ended(job)


async def image_warnings(workplace: Workplace, collection: int) -> dict[str, str]:
    """Return what was wrong with images of the live index, by URL."""
    _, index = await workplace.indexes.live(collection)
    assert index is not None
    found = await ImageVersions(workplace.database).warned(index.id, after=0, limit=10)
    return {row.image_url: row.warning for row in found}


async def test_a_truncated_image_is_indexed_with_a_warning_until_its_host_sends_it_whole(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    embedder.warnings[hashlib.sha256(picture(1)).hexdigest()] = ["truncated"]
    host.answers |= {"cut": versioned(1, etag='"cut"'), "good": versioned(2, etag='"good"')}
    cut, good = host.url("cut"), host.url("good")
    collection = await workplace.collection([cut, good])
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    assert await image_warnings(workplace, collection) == {cut: "truncated"}
    assert await reasons(workplace, collection) == {}
    # Unchanged: the host has nothing newer.
    assert (await refreshed(trainers, workplace, collection)).state is JobState.DONE
    assert await image_warnings(workplace, collection) == {cut: "truncated"}
    host.answers["cut"] = versioned(3, etag='"whole"')
    assert (await refreshed(trainers, workplace, collection)).state is JobState.DONE
    assert await image_warnings(workplace, collection) == {}


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
    job = await refreshed(trainers, workplace, collection, force=True)
    assert (job.state, job.error_message) == (JobState.DONE, None)
    # "changes", and the two without a version of their own.
    assert embedder.embedded.total() == 3
    assert await reasons(workplace, collection) == {host.url("goes"): "not_found"}
    _, index = await workplace.indexes.live(collection)
    assert index is not None
    assert await workplace.rows("SELECT image_count FROM indexes WHERE id = $1", index.id) == [(6,)]
    # The two rows of "tagged" and "redirected" show the same picture, and share a point.
    assert await workplace.client.count_points(index.qdrant_collection) == 4
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


async def indexed(workplace: Workplace, collection: int) -> int:
    """Return the number of images that search uses."""
    _, index = await workplace.indexes.live(collection)
    assert index is not None
    return await workplace.client.count_points(index.qdrant_collection)


async def warnings(workplace: Workplace, job: Job) -> list[str]:
    """Return the warnings of a job."""
    rows = await workplace.rows(f"SELECT warnings FROM jobs WHERE id = {job.id}")  # noqa: S608 (a number)
    ((found,),) = rows
    assert isinstance(found, list)
    return found


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_refresh_keeps_images_that_fail_for_a_reason_that_may_pass(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    names = ["maintenance", "error", "teapot", "loop", "fine"]
    host.answers |= {name: versioned(number, etag=f'"{name}"') for number, name in enumerate(names)}
    collection = await workplace.collection([host.url(name) for name in names])
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    host.answers |= {
        "maintenance": body(b"<html>Back soon</html>", "text/html"),
        "error": status(500),
        "teapot": status(418),
        "loop": redirect("/loop"),
    }
    job = await refreshed(trainers, workplace, collection)
    assert (job.state, job.error_message) == (JobState.DONE, None)
    assert await reasons(workplace, collection) == {}
    assert await indexed(workplace, collection) == 5
    assert [text.partition(" (")[0] for text in await warnings(workplace, job)] == [
        "4 of 5 images could not be checked for a newer version"
    ]
    # The versions are those of the kept images, so that they are not embedded again.
    host.answers |= {name: versioned(number, etag=f'"{name}"') for number, name in enumerate(names)}
    embedder.embedded.clear()
    job = await refreshed(trainers, workplace, collection)
    assert (job.state, embedder.embedded.total(), await warnings(workplace, job)) == (JobState.DONE, 0, [])


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_refresh_that_would_remove_more_than_a_tenth_changes_nothing_unless_it_is_forced(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    names = [f"image-{number}" for number in range(20)]
    host.answers |= {name: versioned(number, etag=f'"{name}"') for number, name in enumerate(names)}
    collection = await workplace.collection([host.url(name) for name in names])
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    _, before = await workplace.indexes.live(collection)
    host.answers |= {name: status(404) for name in names[:3]}
    job = await refreshed(trainers, workplace, collection)
    assert (job.state, job.error_code) == (JobState.FAILED, "too_many_removals")
    assert "3 of 20 images" in (job.error_message or "")
    assert (await workplace.indexes.live(collection))[1] == before
    # Nor does a later finetune lose them.
    embedder.embedded.clear()
    await workplace.fill(collection, [host.url(name) for name in [*names, "image-20"]])
    host.answers["image-20"] = body(picture(20))
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    assert (await indexed(workplace, collection), embedder.embedded.total()) == (21, 1)
    assert (await refreshed(trainers, workplace, collection, force=True)).state is JobState.DONE
    assert await indexed(workplace, collection) == 18
    assert await reasons(workplace, collection) == {host.url(name): "not_found" for name in names[:3]}


async def test_a_refresh_may_remove_a_tenth(trainers: Trainers, workplace: Workplace, host: ImageHost) -> None:
    urls = host.picture_urls(19)
    host.answers["goes"] = body(picture(19))
    collection = await workplace.collection([*urls, host.url("goes")])
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    host.answers["goes"] = status(404)
    assert (await refreshed(trainers, workplace, collection)).state is JobState.DONE
    assert await indexed(workplace, collection) == 19


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_placeholder_behind_many_rows_is_reported(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    host.answers |= {f"missing-{number}": body(picture(99)) for number in range(6)}
    host.answers |= {f"twice-{number}": body(picture(98)) for number in range(2)}
    # An image that several rows show under one URL is no placeholder.
    urls = [host.url(path) for path in host.answers] + host.picture_urls(1) * 8 + host.picture_urls(8, first=10)
    collection = await workplace.collection(urls)
    job = await trainers.finetuned(collection)
    assert job.state is JobState.DONE
    (warning,) = await warnings(workplace, job)
    assert warning.startswith("6 rows with different URLs and entries have exactly the same image")
    assert warning.endswith(f"for example {host.url('missing-0')} and {host.url('missing-1')}")
    # A later finetune that downloads none of them says so, too.
    await workplace.fill(collection, [*urls, *host.picture_urls(1, first=30)])
    assert await warnings(workplace, await trainers.finetuned(collection)) != []


async def test_an_unrequested_304_is_a_failure(trainers: Trainers, workplace: Workplace, host: ImageHost) -> None:
    host.answers["odd"] = status(304)
    collection = await workplace.collection([host.url("odd"), *host.picture_urls(1)])
    async with asyncio.timeout(60):
        assert (await trainers.finetuned(collection)).state is JobState.DONE
    assert await reasons(workplace, collection) == {host.url("odd"): "http_error"}
