"""The duplicates of a collection over HTTP."""

import csv
import io
from typing import Any

import pytest

from catalog.duplicates.groups import CopyGroup, Duplicates
from catalog.image_versions import EmbeddedVersion, ImageVersions
from catalog.images import Images
from catalog.indexes import Index, Indexes
from catalog.jobs import Jobs
from catalog.postgres.database import Database
from gateway.collections import duplicate_handlers
from servicekit.download.image_version import ImageVersion
from tests.integration.gateway.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")

BACKBONE = "b" * 64


def row(number: int, entry: int) -> str:
    return f"http://user:secret@a.example/{number}.jpg,http://r.example/{entry}\n"


async def published(api: Api, database: Database, rows: str) -> tuple[str, Index, list[int]]:
    """Publish an index without vectors, and return the path of its duplicates, the index and its image ids."""
    identifier = await api.create("Münzen")
    await api.upload(identifier, rows.encode())
    await api.post(f"/api/collection/{identifier}/finetune")
    jobs = Jobs(database)
    while (job := await jobs.claim("tests")) is not None and job.collection_id != identifier:
        await jobs.mark_cancelled(job)
    assert job is not None
    index = await Indexes(database, "similis").begin(job, BACKBONE)
    images = await Images(database).page(identifier, job.revision, after=0, limit=1000)
    await jobs.publish(job, index.id, len(images))
    return f"/api/collection/{identifier}/duplicates", index, [image.id for image in images]


async def test_duplicates_are_paged_as_json_and_complete_as_csv(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicate_handlers, "IMAGES_OF_GROUP", 2)
    monkeypatch.setattr(duplicate_handlers, "ROWS_AT_ONCE", 2)
    path, index, ids = await published(api, database, "".join(row(number, number // 2) for number in range(9)))
    same = EmbeddedVersion(ImageVersion(), b"same")
    versions = dict.fromkeys(ids[:3], same)
    await ImageVersions(database).save(index.collection_id, BACKBONE, versions, refreshed_by=None)
    copies = [CopyGroup(ids[4:6], 0.75), CopyGroup(ids[6:9], 0.5), CopyGroup(ids[:2], 1.0)]
    await Duplicates(database).replace(index, copies, b"vectors")

    def image(place: int) -> dict[str, Any]:
        shown = {"image_url": f"http://a.example/{place}.jpg", "repo_url": f"http://r.example/{place // 2}"}
        return {"image_id": ids[place], **shown}

    def group(number: int, kind: str, score: float, images: int, entries: int, first: int) -> dict[str, Any]:
        counts = {"score": score, "number_of_images": images, "number_of_entries": entries}
        return {"group": number, "kind": kind, **counts, "images": [image(first), image(first + 1)]}

    # The third group of copies consists of equal files only.
    expected = [
        group(1, "identical", 1.0, 3, 2, 0),
        group(2, "copy", 0.75, 2, 1, 4),
        group(3, "copy", 0.5, 3, 2, 6),
    ]
    facts = {"number_of_groups": 3, "searched": True, "index_id": index.id}
    assert (await api.get(path)).json == {"duplicates": expected, **facts, "next": None}
    assert (await api.get(f"{path}?limit=2")).json == {"duplicates": expected[:2], **facts, "next": 2}
    assert (await api.get(f"{path}?limit=2&after=2")).json == {"duplicates": expected[2:], **facts, "next": None}
    for kind, some in (("identical", expected[:1]), ("copy", expected[1:])):
        answer = (await api.get(f"{path}?kind={kind}")).json
        assert answer == {"duplicates": some, **facts, "number_of_groups": len(some), "next": None}

    answer = await api.get(path, headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert [int(line["image_id"]) for line in rows] == [*ids[:3], *ids[4:9]]
    assert rows[3] == {
        "group": "2",
        "kind": "copy",
        "score": "0.75",
        "number_of_images": "2",
        "number_of_entries": "1",
        "image_id": str(ids[4]),
        "image_url": "http://***********@a.example/4.jpg",
        "repo_url": "http://r.example/2",
    }
    answer = await api.get(f"{path}?kind=identical", headers={"Accept": "text/csv"})
    assert len(answer.body.decode().splitlines()) == 1 + 3


async def test_an_answer_says_why_no_duplicates_are_known(api: Api, database: Database) -> None:
    identifier = await api.create()
    answer = (await api.get(f"/api/collection/{identifier}/duplicates")).json
    assert {**answer, "warnings": len(answer["warnings"])} == {
        "duplicates": [],
        "number_of_groups": 0,
        "searched": False,
        "index_id": None,
        "next": None,
        "warnings": 1,
    }
    header = ",".join(duplicate_handlers.COLUMNS)
    answer = await api.get(f"/api/collection/{identifier}/duplicates", headers={"Accept": "text/csv"})
    assert answer.body.decode().strip() == header

    path, index, _ = await published(api, database, row(1, 1))
    older = (await api.get(path)).json
    await Duplicates(database).mark_failed(index)
    failed = (await api.get(path)).json
    assert "older release" in older["warnings"][0]
    assert "failed" in failed["warnings"][0]
    for answer in (older, failed):
        assert (answer["searched"], answer["duplicates"], answer["index_id"]) == (False, [], index.id)
    await Duplicates(database).replace(index, [], b"vectors")
    assert "warnings" not in (await api.get(path)).json


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=-1", "after=x", "kind=", "kind=similar"])
async def test_a_bad_page_of_duplicates_is_refused(api: Api, query: str) -> None:
    identifier = await api.create()
    name = query.partition("=")[0]
    (await api.get(f"/api/collection/{identifier}/duplicates?{query}")).refused(400, f"invalid_{name}")


async def test_the_duplicates_of_no_collection_are_refused(api: Api) -> None:
    (await api.get("/api/collection/999999/duplicates")).refused(400, "collection_not_found")
    (await api.get("/api/collection/x/duplicates")).refused(400, "collection_not_found")
