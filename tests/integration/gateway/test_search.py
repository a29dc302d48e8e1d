"""Search over HTTP, with real embeddings and real indexes."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
from PIL import Image as Picture

from catalog.images import Images
from catalog.indexes import Index, Indexes
from catalog.jobs import Jobs
from catalog.postgres.database import Database
from catalog.vectors.false_matches import FALSE_MATCH_RATES
from gateway.app import gateway
from gateway.upstreams.embedder import QueryEmbedder
from tests.hostile_images.corpus import costly_files, hostile_corpus
from tests.integration.embedder_process import RunningEmbedder, running_embedder
from tests.integration.gateway.api import Answer, Api, answered, api_client
from tests.integration.gateway.conftest import UNREACHABLE, Launch, Parts, settings_for
from tests.integration.gateway.indexing import Indexer, content, image_url, picture

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNT = 20
IMAGE_ERRORS = ("not_an_image", "decode_error", "image_missing", "image_too_large")
RESULT_FIELDS = {"image_id", "image_url", "repo_url", "score", "percentile", "false_match_rate"}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def serving(embedder: RunningEmbedder, parts: Parts, tmp_path_factory: Any) -> AsyncIterator[Api]:
    settings = settings_for(parts, {"embedder_address": embedder.target}, tmp_path_factory.mktemp("spool"))
    async with gateway(settings) as running, api_client(f"http://{running.host}:{running.port}", parts.key) as api:
        yield api


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def collection(serving: Api, indexer: Indexer) -> int:
    """Return an indexed collection of the pictures 0 to 19."""
    identifier = await serving.create("pictures")
    (await serving.upload(identifier, content(range(COUNT)))).pushed()
    await indexer.index(identifier)
    return identifier


def encoded(image: bytes) -> str:
    return base64.b64encode(image).decode()


async def search(api: Api, identifier: int, image: Any, query: str = "", **fields: Any) -> Answer:
    """Search with a JSON body."""
    body = {"image": encoded(image) if isinstance(image, bytes) else image, **fields}
    return await api.post(f"/api/collection/{identifier}/search{query}", body, key=None)


async def test_a_copy_of_an_indexed_image_is_found_first(serving: Api, collection: int) -> None:
    answer = await search(serving, collection, picture(7))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert set(answer.json) == {"results", "index_id"}
    results = answer.json["results"]
    assert len(results) == 5
    assert all(set(result) == RESULT_FIELDS for result in results)
    assert {result["false_match_rate"] for result in results} == {None}
    assert all(result["percentile"] == pytest.approx(50 * (1 + result["score"]), abs=0.3) for result in results)
    assert (results[0]["image_url"], results[0]["repo_url"]) == (image_url(7), "https://repo.example.org/7")
    assert 0.99 <= results[0]["score"] <= 1.0
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)


async def test_every_copy_finds_itself(serving: Api, collection: int) -> None:
    for seed in range(COUNT):
        first = (await search(serving, collection, picture(seed), num_results=1)).json["results"][0]
        assert first["image_url"] == image_url(seed)
        assert first["score"] >= 0.99


@pytest.mark.parametrize("content_type", ["base64", "text/plain", "application/octet-stream", None])
async def test_a_body_that_is_not_json_is_the_image_and_gets_a_bare_list(
    serving: Api, collection: int, content_type: str | None
) -> None:
    expected = (await search(serving, collection, picture(3))).json["results"]
    image = encoded(picture(3))
    for body in (image, f"data:image/jpeg;base64,{image}", base64.encodebytes(picture(3)).decode()):
        headers = {} if content_type is None else {"Content-Type": content_type}
        answer = await serving.call(
            "POST",
            f"/api/collection/{collection}/search",
            data=body.encode(),
            headers=headers,
            skip_auto_headers=["Content-Type"],
        )
        assert answer.status == 200, answer.body
        assert answer.json == expected


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/x; a=b", "application/octet-stream", "text/plain", None])
async def test_a_body_may_be_the_image_itself(serving: Api, collection: int, content_type: str | None) -> None:
    path = f"/api/collection/{collection}/search?num_results=1"
    headers = {} if content_type is None else {"Content-Type": content_type}
    for kind in ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"):
        image = picture(4, kind=kind)
        answer = await serving.call("POST", path, data=image, headers=headers, skip_auto_headers=["Content-Type"])
        # The few colours of a GIF make it another picture.
        assert [result["image_url"] for result in answer.json] == [image_url(4)] or kind == "GIF"


async def test_a_form_may_carry_the_image_and_options(serving: Api, collection: int) -> None:
    path = f"/api/collection/{collection}/search"
    form = aiohttp.FormData()
    form.add_field("file", picture(6), filename="photo.jpg", content_type="image/jpeg")
    form.add_field("num_results", "2")
    answer = await serving.call("POST", path, data=form)
    assert [len(answer.json), answer.json[0]["image_url"]] == [2, image_url(6)]
    form = aiohttp.FormData()
    form.add_field("num_results", "0")
    form.add_field("file", picture(6), filename="photo.jpg")
    (await serving.call("POST", path, data=form)).refused(400, "invalid_num_results")
    form = aiohttp.FormData({"num_results": "2"}, default_to_multipart=True)
    (await serving.call("POST", path, data=form)).refused(400, "invalid_form")


async def test_a_body_with_a_json_type_may_be_the_text_alone(serving: Api, collection: int) -> None:
    path, headers = f"/api/collection/{collection}/search", {"Content-Type": "application/json"}
    expected = (await search(serving, collection, picture(3))).json["results"]
    image = encoded(picture(3)).encode()
    for body in (image, b"data:image/jpeg;base64," + image, b'"' + image + b'"', b' "' + image + b'"\n'):
        assert (await serving.call("POST", path, data=body, headers=headers)).json == expected


async def test_a_json_object_is_recognised_whatever_the_type(serving: Api, collection: int) -> None:
    path = f"/api/collection/{collection}/search"
    body = b'\xef\xbb\xbf {"image": "' + encoded(picture(3)).encode() + b'", "num_results": 1}'
    for content_type in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        answer = await serving.call("POST", path, data=body, headers={"Content-Type": content_type})
        assert [result["image_url"] for result in answer.json["results"]] == [image_url(3)]


async def test_a_search_warns_about_what_it_does_not_know(serving: Api, collection: int) -> None:
    answer = await search(serving, collection, picture(0), "?k=3&num_results=2", limit=3, top_k=4)
    assert len(answer.json["results"]) == 2
    fields, parameters = answer.json["warnings"]
    assert all(name in fields for name in ("limit", "top_k", "num_results", "threshold"))
    assert '"k"' in parameters
    assert "warnings" not in (await search(serving, collection, picture(0), "?_=17", num_results=1)).json


async def test_a_refused_option_is_shown_with_its_range(serving: Api, collection: int) -> None:
    for query, allowed in (
        ("threshold=-5", ("-5", "0", "100")),
        ("threshold=high", ('"high"', "0", "100")),
        ("num_results=-1", ("-1", "1", "1000")),
        ("num_results=2.5", ("2.5", "1", "1000")),
    ):
        answer = await search(serving, collection, picture(0), f"?{query}")
        message = answer.refused(400, f"invalid_{query.partition('=')[0]}")["message"]
        assert all(part in message for part in allowed), message
    message = (await search(serving, collection, picture(0), threshold=[1])).refused(400, "invalid_threshold")[
        "message"
    ]
    assert "[1]" in message


@pytest.mark.parametrize(
    ("image", "code", "part"),
    [
        ("https://example.org/1.jpg", "invalid_base64", "the URL as image_url"),
        (7, "invalid_base64", "not a number"),
        (["QQ=="], "invalid_base64", "not a list"),
        (b"PK\x03\x04rest of the archive", "not_an_image", "a ZIP file"),
        (b"%PDF-1.7 rest", "not_an_image", "a PDF document"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image", "an SVG drawing"),
    ],
)
async def test_a_refused_image_is_called_what_it_is(
    serving: Api, collection: int, image: Any, code: str, part: str
) -> None:
    assert part in (await search(serving, collection, image)).refused(400, code)["message"]
    if isinstance(image, bytes):
        answer = await serving.post(f"/api/collection/{collection}/search", data=image, headers={"Content-Type": "x/y"})
        assert part in answer.refused(400, code)["message"]


@pytest.mark.parametrize(
    "form",
    [
        encoded,
        lambda image: base64.urlsafe_b64encode(image).decode(),
        lambda image: base64.urlsafe_b64encode(image).decode().rstrip("="),
        lambda image: base64.encodebytes(image).decode(),
        lambda image: f"data:image/jpeg;base64,{encoded(image)}",
        lambda image: f"data:image/jpeg;name=a;BASE64,{encoded(image)}",
    ],
    ids=["standard", "url-safe", "unpadded", "lines", "data-url", "data-url-with-parameters"],
)
async def test_the_image_may_be_any_base64(serving: Api, collection: int, form: Any) -> None:
    answer = await search(serving, collection, form(picture(5)))
    assert answer.json["results"][0]["image_url"] == image_url(5)


async def test_every_json_media_type_is_json(serving: Api, collection: int) -> None:
    for content_type in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"):
        body = b'{"image": "' + encoded(picture(1)).encode() + b'"}'
        answer = await serving.call(
            "POST", f"/api/collection/{collection}/search", data=body, headers={"Content-Type": content_type}
        )
        assert set(answer.json) == {"results", "index_id"}


async def test_num_results_may_be_in_the_body_or_in_the_query(serving: Api, collection: int) -> None:
    for query, fields, count in (
        ("", {"num_results": 1}, 1),
        ("?num_results=3", {}, 3),
        ("?num_results=3", {"num_results": 2}, 2),
        ("?num_results=bad", {"num_results": 2}, 2),
        ("?num_results=4", {"num_results": None}, 4),
        ("", {"num_results": 1000}, COUNT),
        ("", {"num_results": 2.0}, 2),
        ("", {}, 5),
    ):
        answer = await search(serving, collection, picture(0), query, **fields)
        assert len(answer.json["results"]) == count
    raw = await serving.call(
        "POST", f"/api/collection/{collection}/search?num_results=2&threshold=0", data=encoded(picture(0)).encode()
    )
    assert len(raw.json) == 2


async def test_threshold_removes_results_below_it(serving: Api, collection: int) -> None:
    everything = (await search(serving, collection, picture(0), num_results=COUNT)).json["results"]
    middle = (everything[4]["score"] + everything[5]["score"]) / 2
    assert 0 < middle < 1
    for query, fields in (("", {"threshold": middle * 100}), (f"?threshold={middle * 100:.6f}", {})):
        found = (await search(serving, collection, picture(0), query, num_results=COUNT, **fields)).json["results"]
        assert found == everything[:5]
    found = (await search(serving, collection, picture(0), "?threshold=30.000000000000004")).json["results"]
    assert all(result["score"] >= 0.3 for result in found)
    assert (await search(serving, collection, picture(99), threshold=100)).json["results"] == []
    assert len((await search(serving, collection, picture(0), threshold=0)).json["results"]) == 5


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def calibrated(serving: Api, indexer: Indexer) -> tuple[int, Index]:
    """Return a collection of the pictures 0 to 19, with false match rates, and its index."""
    identifier = await serving.create("calibrated")
    await serving.upload(identifier, content(range(COUNT)))
    quality = {
        "false_match_scores": [1 - rate for rate in FALSE_MATCH_RATES],
        # A result that exceeds the runner-ups by this much is certain.
        "false_match_prominences": [1.0 - rate for rate in FALSE_MATCH_RATES],
    }
    return identifier, await indexer.index(identifier, quality=json.dumps(quality))


async def test_a_result_has_the_false_match_rate_of_its_score_and_prominence(
    serving: Api, calibrated: tuple[int, Index], database: Database
) -> None:
    identifier, index = calibrated
    answer = (await search(serving, identifier, picture(7), num_results=COUNT)).json
    assert answer["index_id"] == index.id
    results = answer["results"]
    _, stored = await Indexes(database, "similis").live(identifier)
    assert stored is not None
    runner_ups = [result["score"] for result in results[1:4]]
    expected = [stored.false_matches.rate(result["score"], runner_ups) for result in results]
    assert [result["false_match_rate"] for result in results] == expected
    assert expected[0] == 0.0
    assert expected[-1] is not None
    assert expected[-1] > 0.1
    images = await Images(database).by_id(identifier, index.revision, [result["image_id"] for result in results])
    assert {images[result["image_id"]].image_url for result in results} == {image_url(seed) for seed in range(COUNT)}
    # It does not depend on how many results are wanted.
    assert (await search(serving, identifier, picture(7), num_results=1)).json["results"] == results[:1]
    assert (await search(serving, identifier, picture(7), threshold=100 * results[1]["score"])).json["results"] == (
        results[:2]
    )


async def test_results_are_limited_by_false_match_rate_and_percentile(
    serving: Api, calibrated: tuple[int, Index]
) -> None:
    identifier, _ = calibrated
    everything = (await search(serving, identifier, picture(7), num_results=COUNT)).json["results"]
    middle = everything[9]
    for name, wanted in (
        ("max_false_match_rate", [each for each in everything if each["false_match_rate"] <= 0.05]),
        ("min_percentile", [each for each in everything if each["percentile"] >= middle["percentile"]]),
    ):
        limit = 0.05 if name == "max_false_match_rate" else middle["percentile"]
        assert 0 < len(wanted) < COUNT
        for query, fields in (("", {name: limit}), (f"?{name}={limit}", {}), (f"?{name}=0", {name: limit})):
            found = await search(serving, identifier, picture(7), query, num_results=COUNT, **fields)
            assert found.json["results"] == wanted
    found = await search(serving, identifier, picture(7), max_false_match_rate=0)
    assert [result["image_url"] for result in found.json["results"]] == [image_url(7)]
    assert (await search(serving, identifier, picture(7), num_results=COUNT, max_false_match_rate=1)).json[
        "results"
    ] == everything


async def test_a_limit_that_the_index_cannot_apply_is_refused(serving: Api, collection: int) -> None:
    answer = await search(serving, collection, picture(7), max_false_match_rate=0.05)
    answer.refused(400, "not_calibrated")
    assert "max_false_match_rate" in answer.json["detail"]
    assert "force=true" in answer.json["detail"]
    assert (await search(serving, collection, picture(7), min_percentile=0)).status == 200


@pytest.mark.parametrize("value", [-0.1, 1.1, "0.5", True, [], {}, 1e400])
async def test_a_bad_max_false_match_rate_is_refused(serving: Api, collection: int, value: object) -> None:
    (await raw_json(serving, collection, "max_false_match_rate", value)).refused(400, "invalid_max_false_match_rate")


@pytest.mark.parametrize("value", [-0.1, 100.1, "5", True, [], {}, 1e400])
async def test_a_bad_min_percentile_is_refused(serving: Api, collection: int, value: object) -> None:
    (await raw_json(serving, collection, "min_percentile", value)).refused(400, "invalid_min_percentile")


@pytest.mark.parametrize("value", [0, -1, 1001, 1.5, "5", True, [], {}, 10**400, 1e400])
async def test_a_bad_num_results_is_refused(serving: Api, collection: int, value: object) -> None:
    (await raw_json(serving, collection, "num_results", value)).refused(400, "invalid_num_results")


@pytest.mark.parametrize("value", [-0.1, 100.1, "5", True, [], {}, 10**400, 1e400])
async def test_a_bad_threshold_is_refused(serving: Api, collection: int, value: object) -> None:
    (await raw_json(serving, collection, "threshold", value)).refused(400, "invalid_threshold")


async def raw_json(api: Api, identifier: int, field: str, value: object) -> Answer:
    text = "1e999" if value == 1e400 else json.dumps(value)
    body = f'{{"image": "{encoded(picture(0))}", "{field}": {text}}}'.encode()
    headers = {"Content-Type": "application/json"}
    return await api.call("POST", f"/api/collection/{identifier}/search", data=body, headers=headers)


@pytest.mark.parametrize("value", ["", "x", "-1", "0", "1001", "1.5", "1e-2", "0x5", "٣", "5 ", "nan", "9" * 500])
async def test_a_bad_num_results_in_the_query_is_refused(serving: Api, collection: int, value: str) -> None:
    answer = await serving.call(
        "POST",
        f"/api/collection/{collection}/search",
        params={"num_results": value},
        data=encoded(picture(0)).encode(),
    )
    answer.refused(400, "invalid_num_results")


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (None, "image_missing"),
        ("", "image_missing"),
        ("data:image/png;base64,", "image_missing"),
        ("not base64!", "invalid_base64"),
        ("é", "invalid_base64"),
        (7, "invalid_base64"),
        (["QQ=="], "invalid_base64"),
        ("data:image/png,abc", "invalid_base64"),
        (b"just some text", "not_an_image"),
        (picture(0)[:-500], "decode_error"),
        (b"%PDF-1.7 " + b"x" * 100, "not_an_image"),
    ],
)
async def test_a_bad_image_is_refused(serving: Api, collection: int, image: Any, code: str) -> None:
    (await search(serving, collection, image)).refused(400, code)


async def test_hostile_images_get_an_answer_that_says_what_is_wrong(serving: Api, collection: int) -> None:
    path = f"/api/collection/{collection}/search"
    costly = dict(costly_files())
    for name, image in list(hostile_corpus())[::25]:
        if name not in costly:
            answer = await serving.call("POST", path, data=image, headers={"Content-Type": "image/jpeg"})
            refused = answer.status in (400, 413) and answer.json["code"] in IMAGE_ERRORS and answer.json["message"]
            assert answer.status == 200 or refused, (name, answer)
    assert (await search(serving, collection, picture(3))).status == 200


async def test_a_data_url_may_have_quoted_parameters(serving: Api, collection: int) -> None:
    image = 'data:image/jpeg;name="a, b.jpg";base64,' + encoded(picture(3))
    assert (await search(serving, collection, image)).json["results"][0]["image_url"] == image_url(3)
    path = f"/api/collection/{collection}/search"
    assert (await serving.call("POST", path, data=image.encode())).json[0]["image_url"] == image_url(3)


async def test_a_body_without_an_image_is_refused(serving: Api, collection: int) -> None:
    path = f"/api/collection/{collection}/search"
    (await serving.post(path, {}, key=None)).refused(400, "image_missing")
    (await serving.call("POST", path)).refused(400, "image_missing")
    (await serving.call("POST", path, data=b"%%%")).refused(400, "invalid_base64")
    headers = {"Content-Type": "application/json"}
    (await serving.call("POST", path, data=b"{", headers=headers)).refused(400, "invalid_json")
    (await serving.call("POST", path, data=b"[]", headers=headers)).refused(400, "invalid_json")
    (await serving.call("POST", path, data=b"null", headers=headers)).refused(400, "not_an_image")


async def test_an_image_that_is_too_large_gets_413(serving: Api, collection: int, launch: Launch) -> None:
    output = io.BytesIO()
    Picture.new("L", (4600, 4600)).save(output, "PNG")
    (await search(serving, collection, output.getvalue())).refused(413, "image_too_large")
    noise = io.BytesIO()
    random = np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)
    Picture.fromarray(random).save(noise, "PNG")
    (await search(serving, collection, noise.getvalue())).refused(413, "image_too_large")
    small = await launch(max_image_bytes=1000)
    (await search(small, collection, b"x" * 1001)).refused(413, "image_too_large")
    problem = (await search(small, collection, b"x" * 2_000_000)).refused(413, "image_too_large")
    assert problem["message"] == "The image may have at most 1000 bytes."
    for data, content_type in ((b"QUJD" * 400, "text/plain"), (b"\xff" * 1001, "image/jpeg"), (b"\xff" * 99_999, "")):
        path, headers = f"/api/collection/{collection}/search", {"Content-Type": content_type}
        (await small.call("POST", path, data=data, headers=headers)).refused(413, "image_too_large")


async def test_search_is_refused_before_the_first_finetune(serving: Api) -> None:
    identifier = await serving.create()
    (await search(serving, identifier, picture(0))).refused(400, "not_finetuned")
    await serving.upload(identifier, content(range(2)))
    (await search(serving, identifier, picture(0))).refused(400, "not_finetuned")
    await serving.post(f"/api/collection/{identifier}/finetune")
    (await search(serving, identifier, picture(0))).refused(400, "not_finetuned")


async def test_a_second_finetune_starts_only_if_forced_or_if_the_content_changed(
    serving: Api, indexer: Indexer
) -> None:
    identifier = await serving.create()
    await serving.upload(identifier, content(range(3)))
    await indexer.index(identifier)
    info = await serving.info(identifier)
    assert (info["requires_finetuning"], info["finetuning_state"], info["finetuning_progess"]) == (False, "done", None)
    assert info["last_finetuned"] is not None
    nothing = (await serving.post(f"/api/collection/{identifier}/finetune")).pushed()
    assert nothing["job_id"] is None
    assert (await serving.info(identifier))["finetuning_state"] == "done"
    forced = (await serving.post(f"/api/collection/{identifier}/finetune?force=true")).pushed()
    assert isinstance(forced["job_id"], int)
    await serving.upload(identifier, content(range(4)))
    assert (await serving.info(identifier))["requires_finetuning"] is True


async def test_search_uses_the_old_content_until_the_next_index_is_published(serving: Api, indexer: Indexer) -> None:
    identifier = await serving.create()
    await serving.upload(identifier, content(range(4), "https://old.example.org"))
    await indexer.index(identifier)
    await serving.upload(identifier, content(range(2, 8), "https://new.example.org"))
    found = (await search(serving, identifier, picture(0), num_results=10)).json["results"]
    assert {result["repo_url"] for result in found} == {f"https://old.example.org/{seed}" for seed in range(4)}
    await indexer.index(identifier, seed=1)
    found = (await search(serving, identifier, picture(3), num_results=10)).json["results"]
    assert {result["repo_url"] for result in found} == {f"https://new.example.org/{seed}" for seed in range(2, 8)}
    assert found[0]["image_url"] == image_url(3)
    assert found[0]["score"] >= 0.99


async def test_rows_with_equal_urls_are_separate_results(serving: Api, indexer: Indexer) -> None:
    identifier = await serving.create()
    await serving.upload(identifier, content(range(1)) * 3 + content(range(1, 2)))
    await indexer.index(identifier)
    found = (await search(serving, identifier, picture(0))).json["results"]
    assert [result["image_url"] for result in found] == [image_url(0)] * 3 + [image_url(1)]


async def test_the_number_of_results_counts_rows_also_of_equal_images(serving: Api, indexer: Indexer) -> None:
    identifier = await serving.create()
    await serving.upload(identifier, content(range(2)) * 200)
    await indexer.index(identifier)
    expected = [image_url(1)] * 200 + [image_url(0)] * 200
    for wanted in (1, 199, 200, 201, 399, 1000):
        found = (await search(serving, identifier, picture(1), num_results=wanted)).json["results"]
        assert [result["image_url"] for result in found] == expected[:wanted]
        assert len({result["score"] for result in found[:200]}) == 1
    close = (await search(serving, identifier, picture(1), num_results=1000, threshold=99)).json["results"]
    assert [result["image_url"] for result in close] == [image_url(1)] * 200


async def test_a_vector_without_a_row_is_not_a_result(serving: Api, indexer: Indexer) -> None:
    identifier = await serving.create()
    await serving.upload(identifier, content(range(3)))
    index = await indexer.index(identifier)
    stray = np.ones((1, 64), np.float32)
    await indexer.generations.put(index.qdrant_collection, [10**12], stray)
    found = (await search(serving, identifier, picture(0), num_results=10)).json["results"]
    assert len(found) == 3


async def test_an_index_of_another_backbone_is_not_searched(serving: Api, indexer: Indexer) -> None:
    identifier = await serving.create()
    await serving.upload(identifier, content(range(3)))
    await indexer.index(identifier, backbone="0" * 64)
    assert (await serving.info(identifier))["requires_finetuning"] is True
    (await search(serving, identifier, picture(0))).refused(400, "backbone_changed")
    assert (await serving.post(f"/api/collection/{identifier}/finetune")).pushed()["job_id"] is not None


async def test_the_backbone_counts_as_unchanged_while_the_embedder_is_down(launch: Launch, collection: int) -> None:
    api = await launch(embedder_address=UNREACHABLE)
    assert (await api.info(collection))["requires_finetuning"] is False
    assert (await api.post(f"/api/collection/{collection}/finetune")).pushed()["job_id"] is None
    (await search(api, collection, picture(0))).refused(503, "embedder_unavailable")


async def test_a_search_moves_to_the_new_index_if_the_old_one_is_dropped_meanwhile(
    serving: Api, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    identifier = await serving.create()
    await serving.upload(identifier, content(range(3)))
    old = await indexer.index(identifier)
    embed = type(indexer.embedder).embed
    replaced = False

    async def embed_and_publish(self: Any, *arguments: Any) -> Any:
        nonlocal replaced
        vector = await embed(self, *arguments)
        if not replaced:
            replaced = True
            await indexer.index(identifier, seed=9)
            await indexer.generations.drop(old.qdrant_collection)
        return vector

    monkeypatch.setattr(type(indexer.embedder), "embed", embed_and_publish)
    found = (await search(serving, identifier, picture(1))).json["results"]
    assert replaced
    assert found[0]["image_url"] == image_url(1)
    assert found[0]["score"] >= 0.99


async def test_an_index_without_its_vectors_gets_503(serving: Api, indexer: Indexer) -> None:
    identifier = await serving.create()
    await serving.upload(identifier, content(range(3)))
    index: Index = await indexer.index(identifier)
    await indexer.generations.drop(index.qdrant_collection)
    assert (await serving.info(identifier))["requires_finetuning"] is False
    (await search(serving, identifier, picture(1))).refused(503, "vectors_missing")
    assert (await serving.info(identifier))["requires_finetuning"] is True
    assert isinstance((await serving.post(f"/api/collection/{identifier}/finetune")).pushed()["job_id"], int)


class HeldEmbeddings:
    """Embeddings that begin but do not end before `release`."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()

    def hold(self, embed: Callable[..., Any]) -> Callable[..., Any]:
        async def held(client: QueryEmbedder, *arguments: Any) -> Any:
            self.begun.set()
            await self.release.wait()
            return await embed(client, *arguments)

        return held


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldEmbeddings:
    """Hold every embedding of a query until the test releases it."""
    embeddings = HeldEmbeddings()
    monkeypatch.setattr(QueryEmbedder, "embed", embeddings.hold(QueryEmbedder.embed))
    return embeddings


async def test_searches_get_429_when_the_queue_is_full(
    launch: Launch, collection: int, embedder: RunningEmbedder, held: HeldEmbeddings
) -> None:
    api = await launch(embedder_address=embedder.target, search_concurrency=1, search_queue=1)
    running = asyncio.create_task(search(api, collection, picture(0)))
    await held.begun.wait()
    others = {asyncio.create_task(search(api, collection, picture(seed))) for seed in (1, 2, 3)}
    while len(others) > 1:
        done, others = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result().refused(429, "overloaded")
    (queued,) = others
    assert not queued.done()
    held.release.set()
    assert [(await task).status for task in (running, queued)] == [200, 200]


async def test_one_image_of_the_largest_size_always_fits(
    launch: Launch, collection: int, embedder: RunningEmbedder
) -> None:
    api = await launch(embedder_address=embedder.target, body_memory_bytes=100, max_image_bytes=1300)
    drawn = io.BytesIO()
    Picture.new("RGB", (32, 32), "red").save(drawn, "JPEG")
    assert (await search(api, collection, drawn.getvalue().ljust(1300, b"\0"))).status == 200
    (await search(api, collection, drawn.getvalue().ljust(1301, b"\0"))).refused(413, "image_too_large")


async def test_searches_get_503_while_the_embedder_is_down(launch: Launch, collection: int) -> None:
    async with running_embedder(workers="1") as first:
        api = await launch(embedder_address=first.target)
        assert (await search(api, collection, picture(0))).status == 200
        assert (await api.get("/readyz")).status == 200
        first.process.kill()
        await first.process.wait()
        (await search(api, collection, picture(0))).refused(503, "embedder_unavailable")
        await answered(lambda: api.get("/readyz"), 503)
        async with running_embedder(workers="1", listen=first.target):
            await answered(lambda: search(api, collection, picture(0)), 200)


async def test_a_search_gets_503_while_qdrant_is_down(
    launch: Launch, collection: int, embedder: RunningEmbedder
) -> None:
    api = await launch(embedder_address=embedder.target, qdrant_address=UNREACHABLE)
    (await search(api, collection, picture(0))).refused(503, "qdrant_unavailable")


async def test_a_search_gets_504_if_the_embedder_does_not_answer(launch: Launch, collection: int) -> None:
    async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(never_answers, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        api = await launch(embedder_address=f"127.0.0.1:{port}", request_seconds=1.5)
        (await search(api, collection, picture(0))).refused(504, "deadline_exceeded")
        info = await answered(lambda: api.get(f"/api/collection/{collection}/info"), 200)
        assert info.json["requires_finetuning"] is False


async def test_info_tells_why_a_finetune_failed(serving: Api, indexer: Indexer) -> None:
    identifier = await serving.create()
    await serving.upload(identifier, content(range(1)))
    wanted = (await serving.post(f"/api/collection/{identifier}/finetune")).pushed()["job_id"]
    jobs = Jobs(indexer.database)
    while (job := await jobs.claim("tests")) is not None and job.id != wanted:
        await jobs.mark_cancelled(job)
    assert job is not None
    await jobs.heartbeat(job, "fetching", 12.5)
    info = await serving.info(identifier)
    assert (info["finetuning_state"], info["finetuning_progess"]) == ("running", 12.5)
    assert info["finetuning_error"] is None
    await jobs.fail(job, "no_images", "No image could be read.")
    info = await serving.info(identifier)
    assert (info["finetuning_state"], info["finetuning_progess"]) == ("failed", None)
    assert info["finetuning_error"] == {"code": "no_images", "message": "No image could be read."}


async def test_a_client_that_disconnects_frees_its_slot(
    launch: Launch, collection: int, embedder: RunningEmbedder, held: HeldEmbeddings
) -> None:
    api = await launch(embedder_address=embedder.target, search_concurrency=1, search_queue=1, search_queue_seconds=30)
    abandoned = asyncio.create_task(search(api, collection, picture(0)))
    await held.begun.wait()
    held.begun.clear()
    waiting = asyncio.create_task(search(api, collection, picture(0)))
    abandoned.cancel()
    # Only one embedding may run, and the first one has not been released.
    async with asyncio.timeout(25):
        await held.begun.wait()
    held.release.set()
    assert (await waiting).status == 200
