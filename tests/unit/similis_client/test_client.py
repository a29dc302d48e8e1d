"""What each method sends, and how it reads the answer."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from similis_client import (
    Example,
    FinetuneFailed,
    InvalidRequest,
    NewImage,
    Query,
    Region,
    SearchAnswer,
    Similis,
)
from tests.unit.similis_client.conftest import Service

INFO: dict[str, Any] = {
    "id": 1,
    "name": "coins",
    "number_of_images": 2,
    "requires_finetuning": True,
    "last_modified": "2026-11-24T09:43:49Z",
    "last_finetuned": None,
    "finetuning_progess": None,
    "heidicon_tag": None,
    "finetuning_state": "never",
    "finetuning_error": None,
    "a field of a later version": 1,
}
RESULT = {"image_id": 5, "image_url": "https://example.org/1.jpg", "repo_url": "1", "score": 1, "percentile": None}


def sent(service: Service) -> dict[str, Any]:
    """Return the JSON body of the last request."""
    body: dict[str, Any] = json.loads(service.received[-1].body)
    return body


async def test_info_has_typed_fields(service: Service) -> None:
    service.answer(
        INFO
        | {
            "finetuning_counts": {"done": 1, "total": 2},
            "finetuning_paced_by": [{"host": "example.org", "reason": "slow"}],
        }
    )
    async with Similis(service.url) as similis:
        info = await similis.info(1)
    assert info.last_modified == datetime(2026, 11, 24, 9, 43, 49, tzinfo=UTC)
    assert info.finetuning_counts is not None
    assert info.finetuning_counts.total == 2
    assert info.finetuning_paced_by[0].host == "example.org"
    assert not info.is_finetuning


async def test_info_of_an_older_service_has_defaults(service: Service) -> None:
    original = ("id", "name", "number_of_images", "requires_finetuning", "last_modified", "last_finetuned")
    service.answer({name: INFO[name] for name in original})
    async with Similis(service.url) as similis:
        info = await similis.info(1)
    assert (info.finetuning_state, info.number_of_failures) == ("never", None)


async def test_a_query_sends_what_was_given_and_nothing_else(service: Service, tmp_path: Path) -> None:
    image = tmp_path / "photo.jpg"
    image.write_bytes(b"jpeg")
    service.answer({"results": [RESULT], "index_id": 17})
    query = Query(
        image=image,
        region=Region(x=0, y=0.25, width=0.5, height=0.75),
        num_results=3,
        group_by="repo_url",
        exclude=[7],
        exclude_self=False,
    )
    async with Similis(service.url) as similis:
        answer = await similis.search(1, query)
    assert sent(service) == {
        "image": base64.b64encode(b"jpeg").decode(),
        "region": {"x": 0, "y": 0.25, "width": 0.5, "height": 0.75},
        "num_results": 3,
        "group_by": "repo_url",
        "exclude": [7],
        "exclude_self": False,
    }
    assert (answer.results[0].score, answer.index_id, answer.next_offset) == (1.0, 17, None)


async def test_an_image_alone_is_a_query(service: Service) -> None:
    service.answer({"results": []})
    async with Similis(service.url) as similis:
        await similis.search(1, b"jpeg")
    assert sent(service) == {"image": base64.b64encode(b"jpeg").decode()}


async def test_examples_are_sent_with_their_images(service: Service) -> None:
    service.answer({"results": []})
    examples = [Example(image=b"a"), Example(image_id=4, weight=-0.5), Example(text="a red coin")]
    async with Similis(service.url) as similis:
        await similis.search(1, Query(examples=examples))
    assert sent(service) == {
        "examples": [{"image": "YQ=="}, {"image_id": 4, "weight": -0.5}, {"text": "a red coin"}],
    }


async def test_results_are_read_page_by_page(service: Service) -> None:
    service.answer({"results": [RESULT], "next_offset": 1})
    service.answer({"results": [RESULT], "next_offset": None})
    async with Similis(service.url) as similis:
        found = [result async for result in similis.results(1, Query(image_id=5, num_results=1))]
    assert len(found) == 2
    assert [json.loads(request.body).get("offset") for request in service.received] == [None, 1]


async def test_a_batch_has_answers_and_errors(service: Service) -> None:
    problem = {"status": 400, "code": "image_not_found", "detail": "There is no image 9."}
    service.answer({"answers": [{"results": [RESULT]}, problem]})
    async with Similis(service.url) as similis:
        first, second = await similis.search_batch(1, [Query(image_id=5), Query(image_id=9)])
    assert isinstance(first, SearchAnswer)
    assert isinstance(second, InvalidRequest)
    assert (second.code, second.detail) == ("image_not_found", "There is no image 9.")
    assert sent(service) == {"queries": [{"image_id": 5}, {"image_id": 9}]}


async def test_several_collections_are_searched_at_once(service: Service) -> None:
    skipped = {"collection_id": 2, "code": "not_finetuned"}
    service.answer({"results": [RESULT | {"collection_id": 1}], "skipped": [skipped]})
    async with Similis(service.url) as similis:
        answer = await similis.search_collections(Query(text="coin"), [1, 2])
    assert sent(service) == {"text": "coin", "collections": [1, 2]}
    assert answer.results[0].collection_id == 1
    assert answer.skipped[0].code == "not_finetuned"


async def test_similar_leaves_out_what_is_not_given(service: Service) -> None:
    service.answer({"results": []})
    async with Similis(service.url) as similis:
        await similis.similar(1, repo_url="https://example.org/a?b=c&d", num_results=3)
    assert (
        service.received[0].path == "/api/collection/1/similar?repo_url=https://example.org/a?b%3Dc%26d&num_results=3"
    )


async def test_images_are_read_page_by_page(service: Service) -> None:
    image = {"image_id": 1, "image_url": "u", "repo_url": "r", "state": "indexed", "reason": None}
    service.answer({"images": [image], "next": 1})
    service.answer({"images": [image | {"image_id": 2}], "next": None})
    async with Similis(service.url) as similis:
        found = [image.image_id async for image in similis.images(3, state="indexed", page_size=1)]
    assert found == [1, 2]
    assert [request.path for request in service.received] == [
        "/api/collection/3/images?limit=1&state=indexed",
        "/api/collection/3/images?limit=1&after=1&state=indexed",
    ]


async def test_images_are_added_and_removed(service: Service) -> None:
    service.answer({"image_ids": [8], "message": "", "message_type": "push"})
    async with Similis(service.url, "k") as similis:
        assert await similis.add_images(3, [NewImage(image_url="u", repo_url="r")]) == [8]
        assert sent(service) == {"images": [{"image_url": "u", "repo_url": "r"}]}
        await similis.remove_images(3, [8])
    assert service.received[-1].path == "/api/collection/3/images/delete"
    assert sent(service) == {"image_ids": [8]}


async def test_a_download_is_one_complete_file(service: Service, tmp_path: Path) -> None:
    service.answer({})
    service.answers[0].body = b"u,r\n" * 50_000
    target = tmp_path / "out.csv"
    async with Similis(service.url) as similis:
        await similis.download(1, target, revision=2)
    assert target.read_bytes() == b"u,r\n" * 50_000
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == [target]
    assert service.received[0].path == "/api/collection/1/csvfile?revision=2"


async def test_a_finetune_is_watched_to_its_end(service: Service) -> None:
    service.answer({"job_id": 3, "message": "Model finetuning started", "message_type": "push"})
    service.answer(INFO | {"finetuning_state": "running", "finetuning_progess": 10.0, "finetuning_phase": "fetching"})
    service.refuse(504, "deadline_exceeded", {"Retry-After": "0"})
    service.answer(INFO | {"finetuning_state": "done", "requires_finetuning": False})
    async with Similis(service.url, "k") as similis:
        finetune = similis.finetune(1, force=True)
        states = [info.finetuning_state async for info in finetune.watch(interval=0)]
    assert states == ["running", "done"]
    assert finetune.job_id == 3
    assert service.received[0].path == "/api/collection/1/finetune?force=true"


async def test_a_finetune_can_be_awaited_and_watched_later(service: Service) -> None:
    service.answer({"job_id": 3, "message": "Model finetuning started", "message_type": "push"})
    service.answer(INFO | {"finetuning_state": "done"})
    async with Similis(service.url, "k") as similis:
        finetune = await similis.finetune(1)
        assert finetune.job_id == 3
        assert (await finetune.wait(interval=0)).finetuning_state == "done"
    assert [request.method for request in service.received] == ["POST", "GET"]


async def test_nothing_new_to_learn_ends_at_once(service: Service) -> None:
    service.answer({"job_id": None, "message": "There is nothing new", "message_type": "push"})
    service.answer(INFO | {"requires_finetuning": False})
    async with Similis(service.url, "k") as similis:
        finetune = similis.finetune(1)
        assert not (await finetune.wait()).requires_finetuning
    assert (finetune.job_id, finetune.message) == (None, "There is nothing new")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (
            {"finetuning_state": "failed", "finetuning_error": {"code": "no_images_indexed", "message": "None."}},
            "no_images_indexed",
        ),
        ({"finetuning_state": "cancelled"}, "cancelled"),
    ],
)
async def test_a_finetune_that_did_not_succeed_raises(service: Service, end: dict[str, Any], code: str) -> None:
    service.answer(INFO | {"finetuning_state": "queued", "finetuning_progess": 0})
    service.answer(INFO | end)
    seen = []

    async def watch(similis: Similis) -> None:
        async for info in similis.watch(1, interval=0):
            seen.append(info.finetuning_state)  # noqa: PERF401 - the states before the error are kept

    async with Similis(service.url) as similis:
        with pytest.raises(FinetuneFailed) as caught:
            await watch(similis)
    assert seen == ["queued", end["finetuning_state"]]
    assert caught.value.code == code
