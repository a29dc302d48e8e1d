"""The routes of sources, without a trainer: what is accepted, what is refused, and what is shown."""

from typing import Any

import pytest

from catalog.postgres.database import Database
from catalog.sources.sources import Sources
from tests.integration.gateway.api import Api
from tests.integration.gateway.conftest import Launch, Parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

IIIF = {"type": "iiif", "url": "https://library.example.org/collection.json"}
OAI = {"type": "oai", "url": "https://repository.example.org/oai", "metadata_prefix": "lido"}


async def created(api: Api, source: dict[str, Any]) -> int:
    answer = await api.post("/api/collection/create", {"name": "seals", "source": source})
    assert answer.status == 200, answer.body
    identifier: int = answer.json["id"]
    return identifier


async def shown(api: Api, collection: int) -> dict[str, Any]:
    source: dict[str, Any] = (await api.get(f"/api/collection/{collection}/info")).json["source"]
    return source


async def test_a_collection_with_a_source_queues_its_first_reading(launch: Launch) -> None:
    api = await launch()
    collection = await created(
        api, {**OAI, "set": "coins", "from": "2026-01-31", "refresh": "weekly", "then": "finetune"}
    )
    source = await shown(api, collection)
    assert source["state"] == "queued"
    assert source["next_reading"] is not None
    given = {name: source[name] for name in ("type", "metadata_prefix", "set", "from", "views", "refresh", "then")}
    assert given == {
        "type": "oai", "metadata_prefix": "lido", "set": "coins", "from": "2026-01-31", "views": "record",
        "refresh": "weekly", "then": "finetune",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "views"),
    [
        (IIIF, "none"),
        ({**IIIF, "views": "manifest"}, "manifest"),
        (OAI, "record"),
        ({**OAI, "metadata_prefix": "METS"}, "none"),
        ({**OAI, "views": "none"}, "none"),
    ],
)
async def test_views_depend_on_the_source(launch: Launch, source: dict[str, Any], views: str) -> None:
    api = await launch()
    assert (await shown(api, await created(api, source)))["views"] == views


async def test_a_csv_collection_has_no_source(launch: Launch) -> None:
    api = await launch()
    collection = await api.create("coins")
    assert (await api.get(f"/api/collection/{collection}/info")).json["source"] is None
    message = (await api.post(f"/api/collection/{collection}/source/read")).refused(400, "no_source")["message"]
    assert message.endswith("Upload a CSV instead.")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("https://a.example", "must be an object"),
        ({}, "needs a type, iiif or oai, but it is missing"),
        ({"type": "ftp", "url": "x"}, 'it is "ftp"'),
        ({"type": "iiif"}, "needs a url"),
        ({**IIIF, "url": "file:///etc/passwd"}, "is not http or https"),
        ({**IIIF, "url": "https://"}, "has no host"),
        ({**IIIF, "url": "https://a:b@library.example.org"}, "with a user name or password"),
        ({**IIIF, "set": "coins"}, 'of type iiif has no field "set"'),
        ({"type": "oai", "url": "https://a.example"}, "needs metadata_prefix"),
        ({**OAI, "from": "yesterday"}, "It must be a date such as 2026-01-31"),
        ({**OAI, "metadata_prefix": "a b"}, "the name of a format"),
        ({**OAI, "refresh": "hourly"}, "It must be daily or weekly"),
        ({**OAI, "then": "delete"}, "It must be finetune"),
        ({**IIIF, "views": "record"}, "It must be none or manifest"),
    ],
)
async def test_a_source_that_is_not_valid_is_refused(launch: Launch, source: object, words: str) -> None:
    api = await launch()
    before = (await api.get("/api/collection/list")).json["ids"]
    answer = await api.post("/api/collection/create", {"name": "seals", "source": source})
    assert words in answer.refused(400, "invalid_source")["message"]
    assert (await api.get("/api/collection/list")).json["ids"] == before


async def test_a_source_and_a_tag_exclude_each_other(launch: Launch) -> None:
    api = await launch()
    body = {"name": "seals", "source": IIIF, "heidicon_tag": "Coins"}
    (await api.post("/api/collection/create", body)).refused(400, "invalid_source")


async def test_reading_again_returns_the_reading_that_is_queued(launch: Launch) -> None:
    api = await launch()
    path = f"/api/collection/{await created(api, IIIF)}/source"
    first = await api.post(f"{path}/read")
    assert first.json["message"] == "A reading is already queued."
    assert (await api.post(f"{path}/cancel")).json["reading_id"] == first.json["reading_id"]
    assert (await api.get(path)).json["source"]["state"] == "cancelled"
    again = await api.post(f"{path}/read?full=true")
    assert again.json["message"] == "The reading has been queued."
    assert again.json["reading_id"] > first.json["reading_id"]
    assert (await api.post(f"{path}/cancel")).json["reading_id"] == again.json["reading_id"]
    assert (await api.post(f"{path}/cancel")).json["reading_id"] is None


async def test_imported_content_cannot_be_changed_otherwise(launch: Launch) -> None:
    api = await launch()
    collection = await created(api, OAI)
    path = f"/api/collection/{collection}"
    rows = {"images": [{"image_url": "https://a.example/1.jpg", "repo_url": ""}]}
    (await api.post(f"{path}/images", rows)).refused(400, "content_is_imported")
    message = (await api.upload(collection, b"https://a.example/1.jpg,1\n")).refused(400, "content_is_imported")[
        "message"
    ]
    assert "OAI-PMH" in message


async def test_a_schedule_can_be_changed_and_becomes_due(launch: Launch, parts: Parts) -> None:
    api = await launch()
    collection = await created(api, IIIF)
    path = f"/api/collection/{collection}/source"
    (await api.post(f"{path}/cancel")).pushed()
    (await api.post(f"{path}/schedule", {"refresh": "daily"})).pushed()
    async with Database.open(parts.database_url) as database:
        sources = Sources(database)
        assert await sources.enqueue_due() == []
        async with database.connection() as connection:
            await connection.execute("UPDATE sources SET next_reading = now() WHERE collection_id = $1", collection)
        assert await sources.enqueue_due() == [collection]
        assert await sources.enqueue_due() == []
    source = await shown(api, collection)
    assert (source["state"], source["refresh"], source["then"]) == ("queued", "daily", None)
    (await api.post(f"{path}/schedule", {})).pushed()
    assert (await shown(api, collection))["next_reading"] is None
