"""The last three contents of a collection can be listed and downloaded."""

from datetime import datetime

import pytest

from catalog.keys.api_keys import ApiKeys
from catalog.postgres.database import Database
from tests.integration.gateway.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")


def content(rows: int) -> bytes:
    """Make a CSV with so many rows."""
    return b"".join(b"https://example.org/%d.jpg;https://repo.example.org/%d\r\n" % (n, n) for n in range(rows))


async def revisions(api: Api, identifier: int) -> list[dict[str, object]]:
    answer = await api.get(f"/api/collection/{identifier}/revisions")
    assert answer.status == 200, answer.body
    assert set(answer.json) == {"revisions"}
    found: list[dict[str, object]] = answer.json["revisions"]
    return found


async def test_a_new_collection_has_no_revisions(api: Api) -> None:
    identifier = await api.create()
    assert await revisions(api, identifier) == []
    problem = (await api.get(f"/api/collection/{identifier}/csvfile?revision=1")).refused(400, "revision_not_found")
    assert "none yet" in problem["message"]


async def test_a_revision_has_its_time_rows_and_key(api: Api, database: Database) -> None:
    identifier = await api.create()
    await api.upload(identifier, content(2))
    await api.post(
        f"/api/collection/{identifier}/updatecontent",
        data=content(5),
        headers={"Content-Type": "text/csv"},
        key=await ApiKeys(database).create("Münzkabinett"),
    )
    newest, first = await revisions(api, identifier)
    assert set(newest) == {"revision", "time", "rows", "key"}
    assert (newest["revision"], newest["rows"], newest["key"]) == (2, 5, "Münzkabinett")
    assert (first["revision"], first["rows"], first["key"]) == (1, 2, "tests")
    modified = datetime.fromisoformat((await api.info(identifier))["last_modified"])
    assert datetime.fromisoformat(str(newest["time"])) == modified.replace(microsecond=0)


async def test_an_upload_that_emptied_the_content_can_be_taken_back(api: Api) -> None:
    identifier = await api.create("Münzen")
    await api.upload(identifier, content(3))
    await api.clear(identifier)
    assert [one["rows"] for one in await revisions(api, identifier)] == [0, 3]
    answer = await api.get(f"/api/collection/{identifier}/csvfile?revision=1")
    assert (answer.status, answer.body) == (200, content(3))
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "M%C3%BCnzen%20revision%201.csv" in answer.headers["Content-Disposition"]
    assert (await api.upload_raw(identifier, answer.body)).pushed()["number_of_images"] == 3
    assert await api.csv(identifier) == content(3)
    assert [one["rows"] for one in await revisions(api, identifier)] == [3, 0, 3]


async def test_the_last_three_contents_are_kept(api: Api) -> None:
    identifier = await api.create()
    for rows in (1, 2, 3, 3, 4, 5):
        await api.upload(identifier, content(rows))
    assert [(one["revision"], one["rows"]) for one in await revisions(api, identifier)] == [(5, 5), (4, 4), (3, 3)]
    path = f"/api/collection/{identifier}/csvfile"
    for revision in (3, 4, 5):
        assert (await api.get(f"{path}?revision={revision}")).body == content(revision)
    for revision in (1, 2, 6, 2**63 - 1):
        problem = (await api.get(f"{path}?revision={revision}")).refused(400, "revision_not_found")
        assert problem["message"].endswith("It has 5, 4, 3.")


@pytest.mark.parametrize("revision", ["", "0", "-1", "x", "1.0", "%201", "9" * 19, "9" * 400])
async def test_a_malformed_revision_is_refused(api: Api, revision: str) -> None:
    identifier = await api.create()
    await api.upload(identifier, content(1))
    answer = await api.get(f"/api/collection/{identifier}/csvfile?revision={revision}")
    answer.refused(400, "invalid_revision")


async def test_revisions_of_an_unknown_collection_are_refused(api: Api) -> None:
    for path in ("revisions", "csvfile?revision=1"):
        (await api.get(f"/api/collection/999999999/{path}")).refused(400, "collection_not_found")
