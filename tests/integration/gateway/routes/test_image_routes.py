"""Additions to the contract: the images of a collection, each with its id and state."""

import pytest

from catalog.collections import Collections
from catalog.images import Images
from catalog.indexes import ImageFailure, Index, Indexes
from catalog.jobs import Jobs
from catalog.postgres.database import Database
from tests.integration.gateway.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")


def content(*numbers: int, entry: str = "entry") -> bytes:
    """Make a CSV whose images are numbered. Two of them share each entry."""
    return b"".join(
        b"https://a.example/%d.jpg,https://r.example/%s/%d\n" % (n, entry.encode(), n // 2) for n in numbers
    )


async def finetuned(
    api: Api, database: Database, identifier: int, *failed: int, reason: str = "not_found", published: bool = True
) -> Index:
    """Finetune as a trainer does. failed: the positions of the images that fail."""
    job_id = (await api.post(f"/api/collection/{identifier}/finetune?force=true")).pushed()["job_id"]
    jobs, indexes = Jobs(database), Indexes(database, "similis")
    while (job := await jobs.claim("tests")) is not None and job.id != job_id:
        await jobs.mark_cancelled(job)
    assert job is not None
    index = await indexes.begin(job, "b" * 64)
    images = await Images(database).page(identifier, job.revision, after=0, limit=1000)
    await indexes.add_failures(index, [ImageFailure(images[place].id, reason, "") for place in failed])
    if published:
        await jobs.publish(job, index.id, len(images) - len(failed))
    else:
        await jobs.fail(job, "too_many_failures", "")
    return index


async def states(api: Api, identifier: int, query: str = "") -> list[tuple[str, str, str | None]]:
    """Return the file name, state and reason of each listed image."""
    answer = await api.get(f"/api/collection/{identifier}/images{query}")
    assert answer.status == 200, answer.body
    assert answer.json["next"] is None
    return [(one["image_url"].split("/")[3], one["state"], one["reason"]) for one in answer.json["images"]]


async def test_images_are_pending_until_a_finetune_indexed_them_or_failed(api: Api, database: Database) -> None:
    identifier = await api.create()
    assert await states(api, identifier) == []
    await api.upload(identifier, content(1, 2))
    assert await states(api, identifier) == [("1.jpg", "pending", None), ("2.jpg", "pending", None)]
    await finetuned(api, database, identifier, 1)
    await api.upload(identifier, content(1, 2, 3))
    expected = [("1.jpg", "indexed", None), ("2.jpg", "failed", "not_found"), ("3.jpg", "pending", None)]
    assert await states(api, identifier) == expected
    for one in expected:
        assert await states(api, identifier, f"?state={one[1]}") == [one]


async def test_an_image_in_the_live_index_stays_indexed(api: Api, database: Database) -> None:
    """Neither a new repository URL nor a later finetune without success takes it out of search."""
    identifier = await api.create()
    await api.upload(identifier, content(1, 2))
    await finetuned(api, database, identifier, 1, reason="timeout")
    await api.upload(identifier, content(1, 2, 3, entry="moved"))
    await finetuned(api, database, identifier, 0, 2, reason="server_error", published=False)
    assert await states(api, identifier) == [
        ("1.jpg", "indexed", None),
        # The later finetune did not get to it again.
        ("2.jpg", "pending", None),
        ("3.jpg", "failed", "server_error"),
    ]
    assert await states(api, identifier, "?state=failed") == [("3.jpg", "failed", "server_error")]


async def test_pages_continue_after_the_last_image(api: Api) -> None:
    identifier = await api.create()
    await api.upload(identifier, content(*range(5)))
    found, after = [], 0
    for length in (2, 2, 1):
        page = (await api.get(f"/api/collection/{identifier}/images?limit=2&after={after}")).json
        assert set(page) == {"images", "next"}
        assert len(page["images"]) == length
        found += page["images"]
        after = page["next"]
    assert after is None
    assert [one["image_url"] for one in found] == [f"https://a.example/{n}.jpg" for n in range(5)]
    assert [one["image_id"] for one in found] == sorted(one["image_id"] for one in found)


async def test_repo_url_is_compared_exactly(api: Api) -> None:
    identifier = await api.create()
    await api.upload(identifier, content(2, 3, 4) + "https://a.example/5.jpg,Köln 7\n".encode())

    async def names(repo_url: str) -> list[str]:
        path = f"/api/collection/{identifier}/images"
        answer = await api.get(path, params={"repo_url": repo_url, "state": "pending"})
        return [one["image_url"].split("/")[3] for one in answer.json["images"]]

    assert await names("https://r.example/entry/1") == ["2.jpg", "3.jpg"]
    assert await names("Köln 7") == ["5.jpg"]
    for other in ("", "https://r.example/entry", "https://R.example/entry/1", "köln 7", "\0", "%"):
        assert await names(other) == []


async def test_one_image_is_shown_by_its_id(api: Api) -> None:
    identifier, other = await api.create(), await api.create()
    await api.upload(identifier, content(1))
    listed = (await api.get(f"/api/collection/{identifier}/images")).json["images"][0]
    image = f"images/{listed['image_id']}"
    answer = await api.get(f"/api/collection/{identifier}/{image}")
    assert (
        answer.json
        == listed
        == {
            "image_id": listed["image_id"],
            "image_url": "https://a.example/1.jpg",
            "repo_url": "https://r.example/entry/0",
            "state": "pending",
            "reason": None,
        }
    )
    (await api.get(f"/api/collection/{other}/{image}")).refused(400, "image_not_found")
    await api.clear(identifier)
    (await api.get(f"/api/collection/{identifier}/{image}")).refused(400, "image_not_found")
    for malformed in ("x", "0", "-1", "1.0", "9" * 19, "9" * 400, ""):
        answer = await api.get(f"/api/collection/{identifier}/images/{malformed}")
        answer.refused(400, "image_not_found")


async def test_wrong_parameters_are_named(api: Api, database: Database) -> None:
    identifier = await api.create()
    path = f"/api/collection/{identifier}/images"
    problem = (await api.get(f"{path}?state=done")).refused(400, "invalid_state")
    assert problem["message"] == 'state must be one of pending, indexed, failed, not "done".'
    (await api.get(f"{path}?limit=10001")).refused(400, "invalid_limit")
    (await api.get(f"{path}?after=x")).refused(400, "invalid_after")
    assert "stat" in (await api.get(f"{path}?stat=done")).json["warnings"][0]
    for unknown in ("images", "images/1"):
        (await api.get(f"/api/collection/999999999/{unknown}")).refused(400, "collection_not_found")
    await Collections(database).mark_deleting(identifier)
    (await api.get(path)).refused(400, "collection_not_found")


async def test_credentials_are_hidden_without_a_key(api: Api) -> None:
    identifier = await api.create()
    await api.upload(identifier, b"https://me:secret@a.example/1.jpg,https://r.example/1\n")
    path = f"/api/collection/{identifier}/images"
    assert b"secret" not in (await api.get(path)).body
    assert b"secret" in (await api.get(path, headers={"API-Key": api.key})).body
