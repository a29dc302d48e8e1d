"""Additions to the contract: cancelling a finetune, its progress, and the images that could not be indexed."""

import asyncio
import csv
import io
from urllib.parse import urlsplit

import pytest

from catalog.image_versions import EmbeddedVersion, ImageVersions
from catalog.images import Images
from catalog.indexes import ImageFailure, Indexes
from catalog.jobs import Jobs, PacingHost, PhaseCounts
from catalog.postgres.database import Database
from servicekit.download.image_version import ImageVersion
from tests.integration.gateway.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROW = b"http://a.example/1.jpg,http://r.example/1\n"
COUNT_BLOCKED = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def until_blocked(database: Database) -> None:
    """Return when a statement waits for a lock."""
    found = 0
    async with asyncio.timeout(20):
        while not found:
            async with database.connection() as connection:
                found = await connection.fetchval(COUNT_BLOCKED)
            await asyncio.sleep(0.01)


async def test_a_queued_finetune_is_cancelled_at_once(api: Api) -> None:
    identifier = await api.create()
    await api.upload(identifier, b"http://a.example/1.jpg,http://r.example/1\n")
    job = (await api.post(f"/api/collection/{identifier}/finetune")).pushed()["job_id"]
    assert (await api.post(f"/api/collection/{identifier}/finetune/cancel")).pushed()["job_id"] == job
    info = await api.info(identifier)
    assert (info["finetuning_state"], info["finetuning_progess"]) == ("cancelled", None)
    assert info["requires_finetuning"]


async def test_cancelling_needs_a_key_and_a_collection(api: Api) -> None:
    identifier = await api.create()
    (await api.post(f"/api/collection/{identifier}/finetune/cancel", key=None)).refused(403, "forbidden")
    (await api.post("/api/collection/999999/finetune/cancel")).refused(400, "collection_not_found")


async def test_cancelling_without_a_finetune_is_not_an_error(api: Api) -> None:
    identifier = await api.create()
    assert (await api.post(f"/api/collection/{identifier}/finetune/cancel")).pushed()["job_id"] is None


async def test_a_finetune_that_ends_while_it_is_being_cancelled_stays_done(api: Api, database: Database) -> None:
    identifier = await api.create()
    await api.upload(identifier, ROW)
    await api.post(f"/api/collection/{identifier}/finetune")
    async with database.transaction() as connection:
        await connection.execute("UPDATE jobs SET state = 'done' WHERE collection_id = $1", identifier)
        cancelling = asyncio.create_task(api.post(f"/api/collection/{identifier}/finetune/cancel"))
        await until_blocked(database)
    answer = (await cancelling).pushed()
    assert answer["job_id"] is None
    assert "cancelled" not in answer["message"]
    assert (await api.info(identifier))["finetuning_state"] == "done"


async def test_a_collection_without_a_finetune_has_no_failures(api: Api) -> None:
    identifier = await api.create()
    assert (await api.get(f"/api/collection/{identifier}/failures")).json == {
        "failures": [],
        "number_of_failures": 0,
        "image_warnings": [],
        "next": None,
    }
    (await api.get("/api/collection/999999/failures")).refused(400, "collection_not_found")


async def test_failures_are_returned_as_json_and_as_csv(api: Api, database: Database) -> None:
    identifier = await api.create("Münzen")
    await api.upload(
        identifier, b"http://a.example/1.jpg,http://r.example/1\nhttp://a.example/2.jpg,http://r.example/2\n"
    )
    await api.post(f"/api/collection/{identifier}/finetune")
    jobs, indexes = Jobs(database), Indexes(database, "similis")
    while (job := await jobs.claim("tests")) is not None and job.collection_id != identifier:
        await jobs.mark_cancelled(job)
    assert job is not None
    index = await indexes.begin(job, "b" * 64)
    second = (await Images(database).page(identifier, job.revision, after=0, limit=2))[1]
    await indexes.add_failures(index, [ImageFailure(second.id, "not_found", "the host answered 404")])
    failure = {
        "image_url": "http://a.example/2.jpg",
        "repo_url": "http://r.example/2",
        "reason": "not_found",
        "detail": "the host answered 404",
    }
    path = f"/api/collection/{identifier}/failures"
    expected = {"failures": [failure], "number_of_failures": 1, "image_warnings": [], "next": None}
    assert (await api.get(path)).json == expected
    answer = await api.get(path, headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert list(csv.DictReader(io.StringIO(answer.body.decode()))) == [failure]
    await jobs.mark_cancelled(job)


async def test_failures_are_paged_as_json_and_complete_as_csv(api: Api, database: Database) -> None:
    identifier = await api.create()
    rows = [f"http://a.example/{number}.jpg,http://r.example/{number}" for number in range(7)]
    await api.upload(identifier, "\n".join(rows).encode())
    await api.post(f"/api/collection/{identifier}/finetune")
    jobs, indexes = Jobs(database), Indexes(database, "similis")
    while (job := await jobs.claim("tests")) is not None and job.collection_id != identifier:
        await jobs.mark_cancelled(job)
    assert job is not None
    index = await indexes.begin(job, "b" * 64)
    images = await Images(database).page(identifier, job.revision, after=0, limit=9)
    *failed, warned, good = images
    await indexes.add_failures(index, [ImageFailure(image.id, "timeout", "") for image in failed])
    cut = EmbeddedVersion(ImageVersion(warning="truncated"))
    versions = {warned.id: cut, good.id: EmbeddedVersion(ImageVersion()), failed[0].id: cut}
    await ImageVersions(database).save(identifier, "b" * 64, versions, refreshed_by=None)
    path = f"/api/collection/{identifier}/failures"
    found: list[str] = []
    warnings: list[dict[str, str]] = []
    page = {"next": 0}
    while page["next"] is not None:
        page = (await api.get(f"{path}?limit=2&after={page['next']}")).json
        assert page["number_of_failures"] == 5
        found += [failure["image_url"] for failure in page["failures"]]
        warnings += page["image_warnings"]
        assert len(page["failures"]) + len(page["image_warnings"]) <= 2
    assert found == [row.split(",")[0] for row in rows[:5]]
    # The one that failed later is no warning any more.
    assert [(row["image_url"], row["reason"]) for row in warnings] == [("http://a.example/5.jpg", "truncated")]
    answer = await api.get(path, headers={"Accept": "text/csv"})
    assert len(list(csv.DictReader(io.StringIO(answer.body.decode())))) == 5
    await jobs.mark_cancelled(job)


async def test_head_of_the_failures_as_csv_has_no_body(api: Api) -> None:
    path = f"/api/collection/{await api.create()}/failures"
    assert (await api.get(path, headers={"Accept": "text/csv"})).body == b"image_url,repo_url,reason,detail\r\n"
    # On a raw connection, because HTTP clients would skip a body after HEAD.
    address = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"HEAD {path} HTTP/1.1\r\nHost: a\r\nAccept: text/csv\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"Content-Type: text/csv; charset=utf-8" in head
    assert body == b""


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "after=-1", "after=99999999999999999999"])
async def test_a_bad_page_of_failures_is_refused(api: Api, query: str) -> None:
    identifier = await api.create()
    name = query.partition("=")[0]
    (await api.get(f"/api/collection/{identifier}/failures?{query}")).refused(400, f"invalid_{name}")


async def test_info_shows_the_progress_of_a_finetune_and_the_time_left(api: Api, database: Database) -> None:
    identifier = await api.create()
    await api.upload(identifier, b"http://a.example/1.jpg,http://r.example/1\n")
    await api.post(f"/api/collection/{identifier}/finetune")
    info = await api.info(identifier)
    assert (info["finetuning_counts"], info["finetuning_seconds_left"]) == (None, None)
    jobs = Jobs(database)
    while (job := await jobs.claim("tests")) is not None and job.collection_id != identifier:
        await jobs.mark_cancelled(job)
    assert job is not None
    assert (info["finetuning_paced_by"], info["finetuning_warnings"]) == ([], [])
    await jobs.heartbeat(job, "fetching", 35.0499, PhaseCounts(1, 2, 12.4, [PacingHost("a.example", "slow")]))
    await jobs.warn(job, ["Something is odd."])
    info = await api.info(identifier)
    assert info["finetuning_paced_by"] == [{"host": "a.example", "reason": "slow"}]
    assert (info["finetuning_phase"], info["finetuning_progess"]) == ("fetching", 35.0)
    assert (info["finetuning_counts"], info["finetuning_seconds_left"]) == ({"done": 1, "total": 2}, 12)
    await jobs.mark_cancelled(job)
    info = await api.info(identifier)
    assert (info["finetuning_counts"], info["finetuning_seconds_left"]) == (None, None)
    assert (info["finetuning_paced_by"], info["finetuning_warnings"]) == ([], ["Something is odd."])


async def test_info_counts_the_images_that_search_finds_and_those_that_failed(api: Api, database: Database) -> None:
    identifier = await api.create()
    await api.upload(identifier, b"".join(b"http://a.example/%d.jpg,\n" % number for number in range(5)))
    jobs, indexes = Jobs(database), Indexes(database, "similis")

    async def counts() -> tuple[int, int, int]:
        info = await api.info(identifier)
        return info["number_of_images"], info["number_of_indexed_images"], info["number_of_failures"]

    async def finetune(failed: int, *, publish: bool) -> None:
        await api.post(f"/api/collection/{identifier}/finetune?force=true")
        while (job := await jobs.claim("tests")) is not None and job.collection_id != identifier:
            await jobs.mark_cancelled(job)
        assert job is not None
        index = await indexes.begin(job, "b" * 64)
        images = await Images(database).page(identifier, job.revision, after=0, limit=failed)
        await indexes.add_failures(index, [ImageFailure(image.id, "timeout", "") for image in images])
        if publish:
            await jobs.publish(job, index.id, 5 - failed)
        else:
            await jobs.fail(job, "too_many_failures", "")

    assert await counts() == (5, 0, 0)
    await finetune(2, publish=True)
    assert await counts() == (5, 3, 2)
    await finetune(4, publish=False)
    assert await counts() == (5, 3, 4)
    await api.upload(identifier, ROW)
    assert await counts() == (1, 3, 4)


async def test_refresh_must_be_true_or_false(api: Api) -> None:
    identifier = await api.create()
    await api.upload(identifier, b"http://a.example/1.jpg,http://r.example/1\n")
    (await api.post(f"/api/collection/{identifier}/finetune?refresh=maybe")).refused(400, "invalid_refresh")


async def test_credentials_are_shown_only_to_callers_with_a_key(api: Api, database: Database) -> None:
    identifier = await api.create()
    content = b"https://me:secret@a.example/1.jpg,http://r.example/1\nhttp://a.example/2.jpg,http://r.example/2\n"
    await api.upload(identifier, content)
    jobs, indexes = Jobs(database), Indexes(database, "similis")
    await api.post(f"/api/collection/{identifier}/finetune")
    while (job := await jobs.claim("tests")) is not None and job.collection_id != identifier:
        await jobs.mark_cancelled(job)
    assert job is not None
    index = await indexes.begin(job, "backbone")
    first, _ = await Images(database).page(identifier, job.revision, after=0, limit=10)
    await indexes.add_failures(index, [ImageFailure(first.id, "not_found", "Gone.")])
    keyed, wrong = {"API-Key": api.key}, {"API-Key": "wrong"}
    for headers, url in (({}, "https://a.example/1.jpg"), (wrong, "https://a.example/1.jpg"), (keyed, first.image_url)):
        found = await api.get(f"/api/collection/{identifier}/failures", headers=headers)
        assert [failure["image_url"] for failure in found.json["failures"]] == [url]
        table = await api.get(f"/api/collection/{identifier}/failures", headers={"Accept": "text/csv", **headers})
        assert (b"secret" in table.body) == (headers is keyed)
        file = await api.get(f"/api/collection/{identifier}/csvfile", headers=headers)
        assert file.body == (content if headers is keyed else content.replace(b"me:secret", b"*********"))
