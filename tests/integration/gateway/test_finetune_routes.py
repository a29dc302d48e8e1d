"""What was added to the contract: cancelling a finetune, and the images that it could not take in."""

import csv
import io

import pytest

from similis.catalog.database import Database
from similis.catalog.images import Images
from similis.catalog.indexes import ImageFailure, Indexes
from similis.catalog.jobs import Jobs
from tests.integration.gateway.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")


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


async def test_cancelling_where_nothing_runs_is_no_error(api: Api) -> None:
    identifier = await api.create()
    assert (await api.post(f"/api/collection/{identifier}/finetune/cancel")).pushed()["job_id"] is None


async def test_a_collection_without_a_finetune_has_no_failures(api: Api) -> None:
    identifier = await api.create()
    assert (await api.get(f"/api/collection/{identifier}/failures")).json == {"failures": []}
    (await api.get("/api/collection/999999/failures")).refused(400, "collection_not_found")


async def test_failures_are_told_as_json_and_as_csv(api: Api, database: Database) -> None:
    identifier = await api.create("Münzen")
    await api.upload(
        identifier, b"http://a.example/1.jpg,http://r.example/1\nhttp://a.example/2.jpg,http://r.example/2\n"
    )
    await api.post(f"/api/collection/{identifier}/finetune")
    jobs, indexes = Jobs(database), Indexes(database, "similis")
    while (job := await jobs.claim("tests")) is not None and job.collection_id != identifier:
        await jobs.cancelled(job)
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
    assert (await api.get(path)).json == {"failures": [failure]}
    answer = await api.get(path, headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert list(csv.DictReader(io.StringIO(answer.body.decode()))) == [failure]
    await jobs.cancelled(job)


async def test_refresh_is_true_or_false(api: Api) -> None:
    identifier = await api.create()
    await api.upload(identifier, b"http://a.example/1.jpg,http://r.example/1\n")
    (await api.post(f"/api/collection/{identifier}/finetune?refresh=maybe")).refused(400, "invalid_refresh")
