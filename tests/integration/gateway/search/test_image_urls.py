"""Searches that name an image by URL, and those for a region of an image, over HTTP."""

import asyncio
import base64
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from PIL import Image as Picture

from catalog.images import Images
from catalog.indexes import ImageFailure, Index, Indexes
from catalog.postgres.database import Database
from gateway.app import gateway
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.api import Answer, Api, api_client
from tests.integration.gateway.conftest import Launch, Parts, settings_for
from tests.integration.gateway.indexing import Indexer, picture
from tests.presentation_schema import assert_valid
from tests.unit.embedder.decoding.photographs import NAMES, encoded, photograph
from tests.unit.servicekit.test_network_guard import METADATA, SPELLINGS

pytestmark = pytest.mark.asyncio(loop_scope="session")

PICTURES = 12
# A scan of twenty megapixels has sixteen photographs. The first one, which is in no other place, is at the sixth.
SIDE, COLUMNS, PLACE = 1120, 4, 5
DETAIL = {
    "x": PLACE % COLUMNS / COLUMNS,
    "y": PLACE // COLUMNS / COLUMNS,
    "width": 1 / COLUMNS,
    "height": 1 / COLUMNS,
}
REGION = {"x": 0.25, "y": 0.1, "width": 0.5, "height": 0.7}


@cache
def scan() -> bytes:
    tiles = [photograph(name).resize((SIDE, SIDE)) for name in NAMES]
    whole = Picture.new("RGB", (SIDE * COLUMNS, SIDE * COLUMNS))
    for place in range(COLUMNS**2):
        tile = tiles[0] if place == PLACE else tiles[1 + place % (len(NAMES) - 1)]
        whole.paste(tile, (place % COLUMNS * SIDE, place // COLUMNS * SIDE))
    return encoded(whole, "JPEG", quality=60)


class ImageHost:
    """A host of images and of other answers. opened: until it is set, `/slow` does not answer."""

    def __init__(self) -> None:
        self.port = 0
        self.files = {f"/{seed}/image.jpg": picture(seed) for seed in range(PICTURES)}
        self.files |= {f"/{name}": encoded(photograph(name).resize((300, 300)), "JPEG") for name in NAMES}
        self.files |= {"/scan.jpg": scan(), "/large.jpg": b"\xff\xd8\xff" + bytes(3_000_000)}
        self.files |= {"/slow": picture(0), "/damaged.jpg": picture(1)[:300], "/text": b"no image"}
        self.asked: list[str] = []
        self.slow_asked = asyncio.Event()
        self.opened = asyncio.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(request.path)
        if request.path == "/slow":
            self.slow_asked.set()
            await self.opened.wait()
        if request.path == "/forbidden":
            return web.Response(status=403)
        if request.path == "/redirect":
            return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
        file = self.files.get(request.path)
        return web.Response(status=404) if file is None else web.Response(body=file)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def host() -> AsyncIterator[ImageHost]:
    host = ImageHost()
    runner = web.ServerRunner(web.Server(host.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host.port = runner.addresses[0][1]
    yield host
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def serving(embedder: RunningEmbedder, parts: Parts, tmp_path_factory: Any) -> AsyncIterator[Api]:
    given = {"embedder_address": embedder.target, "allow_private_addresses": True, "max_image_bytes": 2_000_000}
    settings = settings_for(parts, given, tmp_path_factory.mktemp("spool"))
    async with gateway(settings) as running, api_client(f"http://{running.host}:{running.port}", parts.key) as api:
        yield api


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def index(serving: Api, indexer: Indexer, host: ImageHost) -> Index:
    """Return the index of a collection of pictures, photographs, and the scan."""
    identifier = await serving.create("regions")
    paths = [f"/{seed}/image.jpg" for seed in range(PICTURES)] + [f"/{name}" for name in NAMES] + ["/scan.jpg"]
    await serving.upload(identifier, "".join(f"{host.url(path)},https://repo.example.org\n" for path in paths).encode())
    files = {host.url(path): host.files[path] for path in paths}
    return await indexer.index(identifier, files=files)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def ids(index: Index, database: Database, host: ImageHost) -> dict[str, int]:
    """Return the ids of the images, by path."""
    page = await Images(database).page(index.collection_id, index.revision, after=0, limit=100)
    return {image.image_url.removeprefix(host.url("")): image.id for image in page}


async def search(api: Api, index: Index, **fields: Any) -> Answer:
    return await api.post(f"/api/collection/{index.collection_id}/search", fields, key=None)


async def results(api: Api, index: Index, **fields: Any) -> list[dict[str, Any]]:
    answer = await search(api, index, num_results=30, **fields)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["results"]
    return found


def upload(file: bytes) -> str:
    return base64.b64encode(file).decode()


async def test_a_url_finds_what_its_image_finds(
    serving: Api, index: Index, host: ImageHost, ids: dict[str, int]
) -> None:
    path = "/3/image.jpg"
    by_url = await results(serving, index, image_url=host.url(path))
    assert by_url == await results(serving, index, image=upload(host.files[path]))
    assert (by_url[0]["image_id"], by_url[0]["score"]) == (ids[path], pytest.approx(1))
    other = {"image_id": ids["/4/image.jpg"], "weight": -0.5}
    in_examples = await results(serving, index, examples=[{"image_url": host.url(path)}, other])
    assert in_examples == await results(serving, index, examples=[{"image": upload(host.files[path])}, other])
    assert in_examples != by_url


async def test_a_region_is_the_same_part_however_its_image_is_named(
    serving: Api, index: Index, host: ImageHost, ids: dict[str, int]
) -> None:
    path = f"/{NAMES[1]}"
    named = ({"image": upload(host.files[path])}, {"image_url": host.url(path)}, {"image_id": ids[path]})
    whole = await results(serving, index, **named[0])
    found = [await results(serving, index, **each, region=REGION, exclude_self=False) for each in named]
    assert found[0] == found[1] == found[2] != whole
    other = {"image_id": ids["/4/image.jpg"], "weight": 0.5}
    examples = [[{**each, "region": REGION}, other] for each in named]
    combined = [await results(serving, index, examples=each, exclude_self=False) for each in examples]
    assert combined[0] == combined[1] == combined[2] != found[0]
    # One image may be named more than once, and whole.
    both = [{"image_id": ids[path]}, {"image_id": ids[path], "region": REGION}]
    by_upload = [named[0], {**named[0], "region": REGION}]
    twice = await results(serving, index, examples=both, exclude_self=False)
    wanted = {each["image_id"]: each["score"] for each in await results(serving, index, examples=by_upload)}
    assert {each["image_id"]: each["score"] for each in twice} == pytest.approx(wanted, abs=1e-3)


async def test_a_detail_of_a_20_megapixel_scan_is_found_where_the_whole_picture_is_not(
    serving: Api, index: Index, ids: dict[str, int], host: ImageHost
) -> None:
    wanted = ids[f"/{NAMES[0]}"]
    for named in ({"image": upload(scan())}, {"image_url": host.url("/scan.jpg")}, {"image_id": ids["/scan.jpg"]}):
        detail = (await results(serving, index, **named, region=DETAIL))[0]
        assert (detail["image_id"], detail["score"] > 0.95) == (wanted, True)
        whole = [each for each in await results(serving, index, **named) if each["image_id"] != ids["/scan.jpg"]]
        assert whole[0]["image_id"] != wanted
        assert next(each["score"] for each in whole if each["image_id"] == wanted) < 0.75


async def test_a_manifest_names_the_region_as_a_target(
    serving: Api, index: Index, host: ImageHost, ids: dict[str, int]
) -> None:
    path = "/3/image.jpg"
    named = ({"image_url": host.url(path)}, {"image_id": ids[path]}, {"image": upload(host.files[path])})
    route = f"/api/collection/{index.collection_id}/search?format=iiif"
    answers = [await serving.post(route, {**each, "region": REGION}, key=None) for each in named]
    for answer in answers:
        assert_valid(answer.json)
    targets = [answer.json["annotations"][0]["items"][0]["target"] for answer in answers[:2]]
    part = ",".join(f"{100 * REGION[name]:g}" for name in ("x", "y", "width", "height"))
    assert targets == [f"{host.url(path)}#xywh=percent:{part}"] * 2
    # An image that was sent has no address.
    assert "annotations" not in answers[2].json


async def test_an_indexed_image_is_left_out_of_the_results_for_its_region(
    serving: Api, index: Index, ids: dict[str, int]
) -> None:
    asking = ids["/3/image.jpg"]
    found = [each["image_id"] for each in await results(serving, index, image_id=asking, region=REGION)]
    assert (len(found), asking in found) == (len(ids) - 1, False)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nowhere", "not_found"),
        ("/forbidden", "forbidden"),
        ("/large.jpg", "too_large"),
        ("/text", "not_an_image"),
        ("/damaged.jpg", "decode_error"),
        ("/redirect", "blocked_address"),
    ],
)
async def test_a_failed_download_is_refused_with_its_reason(
    serving: Api, index: Index, host: ImageHost, path: str, code: str
) -> None:
    (await search(serving, index, image_url=host.url(path))).refused(400, code)
    (await search(serving, index, examples=[{"image_url": host.url(path)}])).refused(400, code)


async def test_no_spelling_of_an_address_reaches_what_is_not_public(
    api: Api, index: Index, host: ImageHost, ids: dict[str, int]
) -> None:
    host.asked.clear()
    for spelling in SPELLINGS:
        answer = await search(api, index, image_url=f"http://{spelling}:{host.port}/3/image.jpg")
        assert answer.json["code"] in ("blocked_address", "dns_error", "invalid_url")
        assert answer.status == 400
    (await search(api, index, image_id=ids["/3/image.jpg"], region=REGION)).refused(400, "blocked_address")
    assert host.asked == []


async def test_metadata_services_are_never_reached(serving: Api, index: Index) -> None:
    for address in METADATA:
        host = f"[{address}]" if ":" in address else address
        answer = await search(serving, index, image_url=f"http://{host}/latest/meta-data/")
        assert (answer.status, answer.json["code"] in ("blocked_address", "invalid_url")) == (400, True)


async def test_where_nothing_is_downloaded_only_uploads_and_whole_indexed_images_ask(
    launch: Launch, embedder: RunningEmbedder, index: Index, host: ImageHost, ids: dict[str, int]
) -> None:
    api = await launch(embedder_address=embedder.target, allow_private_addresses=True, fetch_image_urls=False)
    host.asked.clear()
    path = "/3/image.jpg"
    (await search(api, index, image_url=host.url(path))).refused(400, "image_url_not_allowed")
    (await search(api, index, image_id=ids[path], region=REGION)).refused(400, "image_url_not_allowed")
    assert host.asked == []
    assert await results(api, index, image=upload(host.files[path]), region=REGION)
    assert await results(api, index, image_id=ids[path])


async def test_a_slow_host_delays_its_own_search_only(
    launch: Launch, embedder: RunningEmbedder, index: Index, host: ImageHost
) -> None:
    given = {"embedder_address": embedder.target, "allow_private_addresses": True, "image_url_concurrency": 8}
    # A second search at a time would be refused.
    api = await launch(search_concurrency=1, search_queue=0, **given)
    waiting = asyncio.create_task(search(api, index, image_url=host.url("/slow")))
    await host.slow_asked.wait()
    assert await results(api, index, image=upload(host.files["/3/image.jpg"]))
    assert await results(api, index, image_url=host.url("/3/image.jpg"))
    assert not waiting.done()
    host.opened.set()
    assert (await waiting).status == 200


async def test_downloads_share_the_memory_with_uploads(
    launch: Launch, embedder: RunningEmbedder, index: Index, host: ImageHost
) -> None:
    size = len(host.files["/3/image.jpg"])
    given = {"max_image_bytes": size, "body_memory_bytes": 3 * 2 * size}
    api = await launch(embedder_address=embedder.target, allow_private_addresses=True, **given)
    by_url, by_upload = {"image_url": host.url("/3/image.jpg")}, {"image": upload(host.files["/3/image.jpg"])}
    assert await results(api, index, examples=[by_url, by_upload])
    for examples in ([by_url] * 3, [by_upload, by_upload, by_url]):
        problem = (await search(api, index, examples=examples)).refused(413, "image_too_large")
        assert "together" in problem["message"]
    # The memory is free again.
    assert await results(api, index, examples=[by_url, by_upload])


async def test_a_region_of_an_image_that_the_index_lacks_is_refused(
    serving: Api, indexer: Indexer, database: Database, host: ImageHost
) -> None:
    identifier = await serving.create("lacking")
    rows = [f"{host.url(f'/{seed}/image.jpg')},https://repo.example.org\n" for seed in range(4)]
    await serving.upload(identifier, "".join(rows[:3]).encode())
    index = await indexer.index(identifier)
    (await search(serving, index, image_id=10**15, region=REGION)).refused(400, "image_not_found")
    await serving.upload(identifier, "".join(rows[1:]).encode())
    newest = await Images(database).page(identifier, 2, after=0, limit=10)
    host.asked.clear()
    (await search(serving, index, image_id=newest[-1].id, region=REGION)).refused(400, "image_not_indexed")
    await Indexes(database, "similis").add_failures(index, [ImageFailure(newest[0].id, "timeout", "")])
    (await search(serving, index, image_id=newest[0].id, region=REGION)).refused(400, "image_not_indexed")
    assert host.asked == []
    # Search serves the previous content, so its images can still ask.
    removed = (await Images(database).page(identifier, 1, after=0, limit=1))[0]
    assert len(await results(serving, index, image_id=removed.id, region=REGION)) == 2


async def test_text_is_refused_before_anything_is_downloaded(serving: Api, index: Index, host: ImageHost) -> None:
    host.asked.clear()
    examples = [{"image_url": host.url("/3/image.jpg")}, {"text": "coin"}]
    problem = (await search(serving, index, examples=examples)).refused(400, "text_not_supported")
    assert "operator" in problem["message"]
    assert host.asked == []
