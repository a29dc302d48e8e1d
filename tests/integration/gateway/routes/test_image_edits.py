"""Additions to the contract: add images to a collection and delete some; the CSV is edited row by row."""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from itertools import accumulate, pairwise

import pytest
from structlog.testing import capture_logs

from catalog.contents import Contents
from catalog.images import Images
from catalog.indexes import Indexes
from catalog.jobs import Jobs
from catalog.postgres.database import Database
from gateway.content.worker import ContentWorker, content_worker
from tests.integration.gateway.api import Answer, Api
from tests.integration.gateway.conftest import Launch

pytestmark = pytest.mark.asyncio(loop_scope="session")


def line(number: int) -> bytes:
    """Return the row of an image in the CSVs of these tests."""
    return b'"https://a.example/%d.jpg";HD %d\r\n' % (number, number)


def content(*numbers: int) -> bytes:
    return b"\xef\xbb\xbfBild;Link\r\n" + b"".join(map(line, numbers))


def row(number: int) -> dict[str, str]:
    return {"image_url": f"https://a.example/{number}.jpg", "repo_url": f"HD {number}"}


async def filled(api: Api, *numbers: int) -> int:
    """Create a collection with these images."""
    identifier = await api.create()
    (await api.upload_raw(identifier, content(*numbers))).pushed()
    return identifier


async def add(api: Api, identifier: int, *numbers: int) -> Answer:
    return await api.post(f"/api/collection/{identifier}/images", {"images": [row(number) for number in numbers]})


async def delete(api: Api, identifier: int, ids: Sequence[object]) -> Answer:
    return await api.post(f"/api/collection/{identifier}/images/delete", {"image_ids": ids})


async def listed(api: Api, identifier: int) -> dict[int, str]:
    """Return the name of each image by id."""
    images = (await api.get(f"/api/collection/{identifier}/images")).json["images"]
    return {one["image_id"]: one["image_url"].split("/")[3].removesuffix(".jpg") for one in images}


async def finetuned(api: Api, database: Database, identifier: int) -> None:
    """Finetune as a trainer does."""
    jobs, indexes = Jobs(database), Indexes(database, "similis")
    job_id = (await api.post(f"/api/collection/{identifier}/finetune?force=true")).pushed()["job_id"]
    while (job := await jobs.claim("tests")) is not None and job.id != job_id:
        await jobs.mark_cancelled(job)
    assert job is not None
    await jobs.publish(job, (await indexes.begin(job, "b" * 64)).id, 1)


async def test_rows_are_appended_and_their_ids_returned(api: Api, database: Database) -> None:
    identifier = await filled(api, 1, 2)
    await finetuned(api, database, identifier)
    before = await api.info(identifier)
    assert not before["requires_finetuning"]
    done = (await add(api, identifier, 4, 3)).pushed()
    assert await api.csv(identifier) == content(1, 2, 4, 3)
    ids = await listed(api, identifier)
    assert [ids[one] for one in done["image_ids"]] == ["4", "3"]
    assert (done["number_of_images"], done["message"]) == (4, "2 images added")
    info = await api.info(identifier)
    assert info["requires_finetuning"]
    assert info["number_of_images"] == 4
    assert info["last_modified"] >= before["last_modified"]
    answer = await api.get(f"/api/collection/{identifier}/csvfile")
    assert int(answer.headers["Content-Length"]) == len(answer.body)


async def test_rows_are_cut_out(api: Api) -> None:
    identifier = await filled(api, 1, 2, 3, 4)
    ids = {name: one for one, name in (await listed(api, identifier)).items()}
    done = (await delete(api, identifier, [ids["3"], ids["1"], ids["3"]])).pushed()
    assert (done["number_of_images"], done["message"]) == (2, "2 images deleted")
    assert await api.csv(identifier) == content(2, 4)
    assert await listed(api, identifier) == {ids["2"]: "2", ids["4"]: "4"}
    (await delete(api, identifier, [ids["2"], ids["4"]])).pushed()
    assert await api.csv(identifier) == content()
    assert (await api.info(identifier))["number_of_images"] == 0
    (await add(api, identifier, 9)).pushed()
    # A header row alone does not show how rows are quoted.
    assert await api.csv(identifier) == content() + b"https://a.example/9.jpg;HD 9\r\n"


async def test_an_empty_collection_can_be_filled_row_by_row(api: Api) -> None:
    identifier = await api.create()
    for number in (1, 2):
        (await add(api, identifier, number)).pushed()
    assert await api.csv(identifier) == b"https://a.example/1.jpg,HD 1\nhttps://a.example/2.jpg,HD 2\n"
    ids = list(await listed(api, identifier))
    (await delete(api, identifier, ids)).pushed()
    assert await api.csv(identifier) == b""
    (await delete(api, identifier, ids)).refused(400, "image_not_found")


async def test_an_edit_writes_only_what_it_changes(api: Api, database: Database) -> None:
    """Adding one row writes one row and a small chunk. Deleting one writes its row and the chunk that had it."""
    identifier = await filled(api, *range(50_000))

    async def written() -> list[tuple[int, int, int]]:
        """Return the images, chunks and bytes that each transaction since the upload has written."""
        async with database.connection() as connection:
            rows = await connection.fetch(
                """SELECT count(*) FILTER (WHERE data IS NULL) AS images, count(data) AS chunks,
                          coalesce(sum(octet_length(data)) FILTER (WHERE fresh), 0)::bigint AS bytes
                FROM (SELECT xmin::text::bigint AS x, NULL::bytea AS data, true AS fresh FROM images
                      WHERE collection_id = $1
                      UNION ALL SELECT xmin::text::bigint, data, last_revision IS NULL FROM content_chunks
                      WHERE collection_id = $1) w GROUP BY x ORDER BY x""",
                identifier,
            )
        return [(row["images"], row["chunks"], row["bytes"]) for row in rows]

    assert len(await written()) == 1
    (await add(api, identifier, 50_000)).pushed()
    assert (await written())[1:] == [(1, 1, len(line(50_000)))]
    ids = list(await listed(api, identifier))
    (await delete(api, identifier, ids[:1])).pushed()
    images, chunks, size = (await written())[2]
    assert (images, chunks) == (1, 2)
    assert size == 1024 * 1024 - len(line(0))
    assert await api.csv(identifier) == content(*range(1, 50_001))


async def test_a_few_rows_are_found_without_reading_the_content(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those whose line begins in one chunk and ends in the next."""
    identifier = await filled(api, *range(60_000))
    starts = list(accumulate((len(line(number)) for number in range(60_000)), initial=len(content())))
    first, second = (bisect_right(starts, 1024 * 1024 * chunk) - 1 for chunk in (1, 2))
    assert starts[first] < 1024 * 1024 < starts[first + 1]
    assert starts[second] < 2 * 1024 * 1024 < starts[second + 1]
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT id FROM images WHERE collection_id = $1 ORDER BY id", identifier)
    ids, started = [row["id"] for row in rows], []

    def counted() -> AbstractAsyncContextManager[ContentWorker]:
        started.append(1)
        return content_worker()

    monkeypatch.setattr("gateway.images.edits.content_worker", counted)
    deleted: set[int] = set()
    for numbers in ([first], [second, 59_999, 7], [first - 1, first + 1], [0]):
        (await delete(api, identifier, [ids[number] for number in numbers])).pushed()
        deleted.update(numbers)
    assert started == []
    (await delete(api, identifier, [ids[number] for number in range(10, 20)])).pushed()
    assert started == [1]
    deleted.update(range(10, 20))
    assert await api.csv(identifier) == content(*(number for number in range(60_000) if number not in deleted))


async def test_rows_of_a_csv_with_line_ends_in_fields_are_found_by_reading_it(api: Api) -> None:
    identifier = await api.create()
    before, after = 'https://a.example/1.jpg,"one\ntwo\n"\n', "https://a.example/2.jpg,two\n"
    (await api.upload_raw(identifier, (before + after).encode())).pushed()
    (await delete(api, identifier, [max(await listed(api, identifier))])).pushed()
    assert await api.csv(identifier) == before.encode()
    # A row that is added later does not change that.
    (await add(api, identifier, 3)).pushed()
    (await delete(api, identifier, [max(await listed(api, identifier))])).pushed()
    assert await api.csv(identifier) == before.encode()


async def test_small_additions_share_a_chunk(api: Api, database: Database) -> None:
    identifier = await filled(api, 9)
    for number in range(5):
        (await add(api, identifier, number)).pushed()
    async with database.connection() as connection:
        chunks = await connection.fetchval(
            "SELECT count(*) FROM content_chunks WHERE collection_id = $1 AND last_revision IS NULL", identifier
        )
    assert chunks == 1


async def test_earlier_revisions_stay_downloadable_and_are_removed_later(api: Api, database: Database) -> None:
    identifier = await filled(api, 1, 2)
    (await add(api, identifier, 3)).pushed()
    first = next(iter(await listed(api, identifier)))
    (await delete(api, identifier, [first])).pushed()
    expected = {1: content(1, 2), 2: content(1, 2, 3), 3: content(2, 3)}
    kept = (await api.get(f"/api/collection/{identifier}/revisions")).json["revisions"]
    assert [(one["revision"], one["rows"], one["key"]) for one in kept] == [
        (3, 2, "tests"),
        (2, 3, "tests"),
        (1, 2, "tests"),
    ]
    path = f"/api/collection/{identifier}/csvfile?revision="
    assert {revision: (await api.get(f"{path}{revision}")).body for revision in expected} == expected
    for number in (4, 5):
        (await add(api, identifier, number)).pushed()
    for _ in range(2):
        await Contents(database).prune(0.0)
    for revision in (1, 2):
        (await api.get(f"{path}{revision}")).refused(400, "revision_not_found")
    assert [(await api.get(f"{path}{revision}")).body for revision in (3, 4, 5)] == [
        content(2, 3),
        content(2, 3, 4),
        content(2, 3, 4, 5),
    ]
    (await api.upload_raw(identifier, content(9))).pushed()
    (await api.upload_raw(identifier, content(8))).pushed()
    (await api.upload_raw(identifier, content(7))).pushed()
    for _ in range(2):
        await Contents(database).prune(0.0)
    async with database.connection() as connection:
        left = await connection.fetch("SELECT revision FROM content_chunks WHERE collection_id = $1", identifier)
    assert sorted(row["revision"] for row in left) == [6, 7, 8]


async def test_uploading_the_edited_csv_changes_nothing(api: Api) -> None:
    identifier = await filled(api, 1, 2)
    (await add(api, identifier, 3)).pushed()
    before = await api.info(identifier)
    assert "unchanged" in (await api.upload_raw(identifier, await api.csv(identifier))).pushed()["message"]
    assert await api.info(identifier) == before
    # As long, but not the same.
    assert "unchanged" not in (await api.upload_raw(identifier, content(1, 2, 4))).pushed()["message"]


async def test_an_upload_after_edits_keeps_the_ids(api: Api) -> None:
    """The occurrences of equal URLs are numbered as an upload numbers them."""
    identifier = await filled(api, 1, 2, 1, 1)
    added = (await add(api, identifier, 1, 3, 1)).pushed()["image_ids"]
    names = await listed(api, identifier)
    ones = [one for one, name in names.items() if name == "1"]
    assert ones[-2:] == [added[0], added[2]]
    (await delete(api, identifier, [ones[1], ones[3]])).pushed()
    left = {one: name for one, name in names.items() if one not in (ones[1], ones[3])}
    assert await listed(api, identifier) == left
    assert await api.csv(identifier) == content(1, 2, 1, 3, 1)
    (await api.upload_raw(identifier, content(1, 2, 1, 3, 1, 7))).pushed()
    after = await listed(api, identifier)
    assert {one: name for one, name in after.items() if name != "7"} == left


async def test_an_undone_addition_needs_no_finetune(api: Api, database: Database) -> None:
    identifier = await filled(api, 1, 2)
    await finetuned(api, database, identifier)
    added = (await add(api, identifier, 3)).pushed()["image_ids"]
    assert (await api.info(identifier))["requires_finetuning"]
    (await delete(api, identifier, added)).pushed()
    assert not (await api.info(identifier))["requires_finetuning"]
    (await add(api, identifier, 3)).pushed()
    assert (await api.info(identifier))["requires_finetuning"]


async def test_concurrent_edits_and_uploads_are_not_lost(api: Api) -> None:
    identifier = await filled(api, *range(20))
    ids = list(await listed(api, identifier))
    work = [add(api, identifier, 100 + number) for number in range(4)]
    work += [delete(api, identifier, [ids[number]]) for number in range(4)]
    for answer in await asyncio.gather(*work):
        answer.pushed()
    csv = await api.csv(identifier)
    assert csv.startswith(content(*range(4, 20)))
    assert sorted(csv.removeprefix(content(*range(4, 20))).splitlines(keepends=True)) == [
        line(100 + number) for number in range(4)
    ]
    assert (await api.info(identifier))["number_of_images"] == 20
    assert len(await listed(api, identifier)) == 20
    uploaded, added = await asyncio.gather(api.upload_raw(identifier, content(7)), add(api, identifier, 200))
    uploaded.pushed()
    added.pushed()
    assert await api.csv(identifier) in (content(7), content(7, 200))


async def test_an_edit_during_a_finetune_is_for_the_next_one(api: Api, database: Database) -> None:
    identifier = await filled(api, 1, 2)
    jobs, indexes = Jobs(database), Indexes(database, "similis")
    job_id = (await api.post(f"/api/collection/{identifier}/finetune")).pushed()["job_id"]
    while (job := await jobs.claim("tests")) is not None and job.id != job_id:
        await jobs.mark_cancelled(job)
    assert job is not None
    first = next(iter(await listed(api, identifier)))
    (await delete(api, identifier, [first])).pushed()
    (await add(api, identifier, 3)).pushed()
    images = await Images(database).page(identifier, job.revision, after=0, limit=10)
    assert [image.repo_url for image in images] == ["HD 1", "HD 2"]
    await jobs.publish(job, (await indexes.begin(job, "b" * 64)).id, 2)
    assert (await api.info(identifier))["requires_finetuning"]
    states = (await api.get(f"/api/collection/{identifier}/images")).json["images"]
    assert [(one["repo_url"], one["state"]) for one in states] == [("HD 2", "indexed"), ("HD 3", "pending")]


async def test_a_refused_edit_changes_nothing(api: Api) -> None:
    identifier = await filled(api, 1)
    one = next(iter(await listed(api, identifier)))
    before = await api.info(identifier)
    path = f"/api/collection/{identifier}/images"
    wrong = {"images": [row(2), {**row(3), "repo_url": "ftp://a.example/3"}]}
    assert "images[1].repo_url" in (await api.post(path, wrong)).refused(400, "invalid_images")["message"]
    (await api.post(path, data=b"{")).refused(400, "invalid_json")
    (await api.post(path, {"images": [row(2)]}, key=None)).refused(403, "forbidden")
    assert (
        str(one + 10**9)
        in (await delete(api, identifier, [one, one + 10**9])).refused(400, "image_not_found")["message"]
    )
    for ids in ([], [0], ["1"], [True], [1.5], [2**63], list(range(1, 10_002))):
        (await delete(api, identifier, ids)).refused(400, "invalid_image_ids")
    (await api.post(f"{path}/delete", {})).refused(400, "invalid_image_ids")
    (await api.post(f"{path}/delete", {"image_ids": 7})).refused(400, "invalid_image_ids")
    (await add(api, 999_999_999, 1)).refused(400, "collection_not_found")
    (await delete(api, 999_999_999, [1])).refused(400, "collection_not_found")
    assert await api.csv(identifier) == content(1)
    assert await api.info(identifier) == before


async def test_an_image_of_another_collection_is_not_deleted(api: Api) -> None:
    identifier, other = await filled(api, 1), await filled(api, 1)
    foreign = next(iter(await listed(api, other)))
    (await delete(api, identifier, [foreign])).refused(400, "image_not_found")
    assert await api.csv(other) == content(1)


async def test_an_imported_content_is_not_edited(api: Api, database: Database) -> None:
    identifier = await filled(api, 1)
    one = next(iter(await listed(api, identifier)))
    async with database.connection() as connection:
        await connection.execute("UPDATE collections SET heidicon_tag = 'Münzen' WHERE id = $1", identifier)
    assert "Münzen" in (await add(api, identifier, 2)).refused(400, "content_is_imported")["message"]
    (await delete(api, identifier, [one])).refused(400, "content_is_imported")


async def test_the_limits_of_uploads_hold_for_edits(launch: Launch) -> None:
    api = await launch(max_csv_rows=3, max_csv_bytes=200)
    identifier = await filled(api, 1, 2)
    (await add(api, identifier, 3)).pushed()
    (await add(api, identifier, 4)).refused(413, "too_large")
    long = {"image_url": "https://a.example/" + "x" * 200, "repo_url": ""}
    (await delete(api, identifier, [next(iter(await listed(api, identifier)))])).pushed()
    (await api.post(f"/api/collection/{identifier}/images", {"images": [long]})).refused(413, "too_large")
    assert await api.csv(identifier) == content(2, 3)


async def test_ten_thousand_rows_are_added_and_deleted_in_one_request(api: Api) -> None:
    identifier = await filled(api, 1)
    ids = (await add(api, identifier, *range(10_000))).pushed()["image_ids"]
    assert len(ids) == 10_000
    assert all(one < other for one, other in pairwise(ids))
    assert await api.csv(identifier) == content(1, *range(10_000))
    (await delete(api, identifier, ids)).pushed()
    assert await api.csv(identifier) == content(1)


async def test_edits_are_in_the_audit_log(api: Api) -> None:
    identifier = await filled(api, 1)
    with capture_logs() as events:
        ids = (await add(api, identifier, 2, 3)).pushed()["image_ids"]
        await delete(api, identifier, ids)
        await delete(api, identifier, ids)
    audits = [event for event in events if event["event"] == "audit"]
    assert [(one["action"], one["outcome"], one["collection"], one["key_name"]) for one in audits] == [
        ("add_images", "done", identifier, "tests"),
        ("delete_images", "done", identifier, "tests"),
        ("delete_images", "refused", identifier, "tests"),
    ]
    assert [(one["added"], one["number_of_images"], one["revision"]) for one in audits[:1]] == [(2, 3, 2)]
    assert [(one["deleted"], one["number_of_images"], one["revision"]) for one in audits[1:2]] == [(2, 1, 3)]
