"""Additions to the contract: the published indexes of a collection, also those that were replaced."""

from datetime import datetime, timedelta

import pytest

from catalog.images import Images
from catalog.indexes import ImageFailure, Index, Indexes
from catalog.jobs import Jobs
from catalog.postgres.database import Database
from tests.integration.gateway.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")

CSV = b"http://a.example/1.jpg,http://r.example/1\nhttp://a.example/2.jpg,http://r.example/2\n"


async def published(api: Api, database: Database, identifier: int) -> Index:
    """Publish an index of the newest content, whose first image failed."""
    job_id = (await api.post(f"/api/collection/{identifier}/finetune?force=true")).pushed()["job_id"]
    jobs, indexes = Jobs(database), Indexes(database, "similis")
    while (job := await jobs.claim("tests")) is not None and job.id != job_id:
        await jobs.mark_cancelled(job)
    assert job is not None
    index = await indexes.begin(job, "b" * 64, backbone_name="efficientnet-lite0")
    first = (await Images(database).page(identifier, job.revision, after=0, limit=1))[0]
    await indexes.add_failures(index, [ImageFailure(first.id, "not_found", "")])
    async with database.connection() as connection:
        await connection.execute(
            """UPDATE indexes SET dim = 256, quality = '{"adapter": "pca"}' WHERE id = $1""", index.id
        )
    await jobs.publish(job, index.id, 1)
    return index


async def test_indexes_are_listed_newest_first_and_described_after_they_are_gone(api: Api, database: Database) -> None:
    identifier = await api.create()
    path = f"/api/collection/{identifier}/indexes"
    assert (await api.get(path)).json == {"indexes": []}
    await api.upload(identifier, CSV)
    old = await published(api, database, identifier)
    new = await published(api, database, identifier)
    await Indexes(database, "similis").remove(old.id)
    answer = await api.get(path)
    assert answer.status == 200
    listed = answer.json["indexes"]
    assert [index["index_id"] for index in listed] == [new.id, old.id]
    assert [index["live"] for index in listed] == [True, False]
    assert listed[0]["superseded_at"] is None
    assert datetime.fromisoformat(listed[1]["superseded_at"]) > datetime.fromisoformat(listed[1]["published_at"])
    for index in listed:
        assert (await api.get(f"{path}/{index['index_id']}")).json == index
        assert datetime.fromisoformat(index["created_at"]) < datetime.fromisoformat(index["published_at"])
        assert datetime.fromisoformat(index["published_at"]).utcoffset() == timedelta(0)
    shown = {name: value for name, value in listed[1].items() if not name.endswith("_at")}
    assert isinstance(shown.pop("job_id"), int)
    assert shown == {
        "index_id": old.id,
        "live": False,
        "revision": 1,
        "backbone": {"name": "efficientnet-lite0", "checksum": "b" * 64},
        "dimension": 256,
        "number_of_images": 2,
        "number_of_indexed_images": 1,
        "number_of_failures": 1,
        "failures": {"not_found": 1},
        "quality": {"adapter": "pca"},
    }


async def test_the_last_ten_indexes_are_listed(api: Api, database: Database) -> None:
    identifier = await api.create()
    await api.upload(identifier, CSV)
    made = [(await published(api, database, identifier)).id for _ in range(11)]
    listed = (await api.get(f"/api/collection/{identifier}/indexes")).json["indexes"]
    assert [index["index_id"] for index in listed] == made[:0:-1]
    assert (await api.get(f"/api/collection/{identifier}/indexes/{made[0]}")).json["index_id"] == made[0]


@pytest.mark.parametrize("index_id", ["1", "0", "-1", "abc", "9223372036854775808", "9" * 400, "1.0", "", "%00"])
async def test_an_unknown_index_gets_its_own_code(api: Api, index_id: str) -> None:
    identifier = await api.create()
    (await api.get(f"/api/collection/{identifier}/indexes/{index_id}")).refused(400, "index_not_found")


async def test_indexes_of_an_unknown_collection_are_refused(api: Api) -> None:
    for path in ("/api/collection/999999/indexes", "/api/collection/abc/indexes/1"):
        (await api.get(path)).refused(400, "collection_not_found")
