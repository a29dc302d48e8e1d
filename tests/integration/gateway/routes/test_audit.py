"""The logs say who changed what: each change is an audit event with its key, client and outcome."""

import pytest
from structlog.testing import capture_logs

from catalog.keys.api_keys import ApiKeys
from catalog.postgres.database import Database
from tests.integration.gateway.api import Api
from tests.integration.gateway.conftest import Launch

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROW = b"https://example.org/1.jpg,https://repo.example.org/1\n"


async def test_each_change_is_logged_with_its_key_and_client(api: Api, database: Database) -> None:
    key = await ApiKeys(database).create("web site")
    number = int(key.partition(".")[0])
    with capture_logs() as events:
        created = (await api.post("/api/collection/create", {"name": "Coins"}, key=key)).pushed()["id"]
        path = f"/api/collection/{created}"
        await api.post(f"{path}/updatename", {"name": "Roman coins"}, key=key)
        await api.upload_raw(created, ROW)
        await api.upload_raw(created, ROW)
        job = (await api.post(f"{path}/finetune?force=true", key=key)).pushed()["job_id"]
        await api.post(f"{path}/finetune", key=key)
        await api.post(f"{path}/finetune/cancel", key=key)
        await api.post(f"{path}/finetune/cancel", key=key)
        await api.post(f"{path}/delete", key=key, headers={"X-Request-Id": "the-deletion"})
        await api.post(f"{path}/delete", key=key)
    audits = [event for event in events if event["event"] == "audit"]
    assert [(event["action"], event["outcome"]) for event in audits] == [
        ("create_collection", "done"),
        ("rename_collection", "done"),
        ("update_content", "done"),
        ("update_content", "unchanged"),
        ("start_finetune", "done"),
        ("start_finetune", "unchanged"),
        ("cancel_finetune", "done"),
        ("cancel_finetune", "unchanged"),
        ("delete_collection", "done"),
        ("delete_collection", "refused"),
    ]
    assert {(event["collection"], event["client"]) for event in audits} == {(created, "127.0.0.1")}
    assert [(event["key_id"], event["key_name"]) for event in audits if event["action"] != "update_content"] == [
        (number, "web site")
    ] * 8
    assert [event.get("name") for event in audits[:2] + audits[-2:-1]] == ["Coins", "Roman coins", "Roman coins"]
    assert (audits[2]["number_of_images"], audits[4]["job"], audits[4]["force"]) == (1, job, True)
    assert audits[-1]["code"] == "collection_not_found"


async def test_a_refused_change_is_logged_too(api: Api) -> None:
    identifier = await api.create()
    with capture_logs() as events:
        (await api.post(f"/api/collection/{identifier}/delete", key="7.guessed")).refused(403, "forbidden")
        (await api.post(f"/api/collection/{identifier}/delete", key=None)).refused(403, "forbidden")
        (await api.upload_raw(identifier, b"x")).refused(400, "invalid_csv")
        (await api.post("/api/verify", key="7.guessed")).refused(403, "forbidden")
        await api.get("/api/collection/list")
    audits = [event for event in events if event["event"] == "audit"]
    assert [(event["outcome"], event["code"], event.get("key_name")) for event in audits] == [
        ("refused", "forbidden", None),
        ("refused", "forbidden", None),
        ("refused", "invalid_csv", "tests"),
    ]
    requests = [event for event in events if event["event"] == "request"]
    assert [event["route"] for event in requests][-2:] == ["/api/verify", "/api/collection/list"]
    assert requests[-2]["code"] == "forbidden"


async def test_a_change_that_fails_on_our_side_is_logged_as_failed(
    api: Api, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    identifier = await api.create()
    monkeypatch.setattr("catalog.collections.Collections.mark_deleting", broken)
    with capture_logs() as events:
        (await api.post(f"/api/collection/{identifier}/delete")).refused(500, "internal")
    [event] = [event for event in events if event["event"] == "audit"]
    assert (event["outcome"], event["code"]) == ("failed", "internal")
    late = await launch(request_seconds=0.001)
    with capture_logs() as events:
        (await late.post(f"/api/collection/{identifier}/updatename", {"name": "x"})).refused(504, "deadline_exceeded")
    [event] = [event for event in events if event["event"] == "audit"]
    assert (event["outcome"], event["code"]) == ("unknown", "deadline_exceeded")


async def test_the_client_behind_a_trusted_proxy_is_logged(api: Api, launch: Launch) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
    behind = await launch(trusted_proxies="127.0.0.0/8")
    for one, client in ((api, "127.0.0.1"), (behind, "198.51.100.7")):
        with capture_logs() as events:
            (await one.post("/api/collection/create", {"name": "a"}, headers=forwarded)).pushed()
        assert {event["client"] for event in events if event["event"] in ("audit", "request")} == {client}
