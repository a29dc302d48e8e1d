"""Sources of IIIF manifests: nested and paged collections, changes, broken parts, and hostile documents."""

import asyncio
import gzip
import json

import pytest
from aiohttp import web

from catalog.images import Images
from catalog.sources.records import ImageDetails, Records
from catalog.sources.sources import NewSource, Source, SourceType
from tests.integration.trainer.sources.conftest import MAX_DOCUMENT_BYTES, Place
from tests.integration.trainer.sources.iiif_host import Answer, IiifHost

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGE = "http://images.example/{}.jpg"


async def found(place: Place, url: str) -> int:
    return await place.create(NewSource(SourceType.IIIF, url))


def difference(source: Source) -> tuple[int | None, int | None, int | None]:
    return source.added, source.changed, source.removed


def many(host: IiifHost, count: int) -> str:
    """Add a collection of as many manifests with one image each."""
    members = [("Manifest", host.manifest(f"m{n}", IMAGE.format(n))) for n in range(count)]
    return host.collection("top", *members)


async def test_the_canvases_of_a_manifest_become_rows(place: Place, host: IiifHost) -> None:
    url = host.manifest("book", IMAGE.format(1), IMAGE.format(2), homepage=[{"id": "http://library.example/book"}])
    collection = await found(place, url)
    source = await place.read(collection)
    assert difference(source) == (2, 0, 0)
    rows = (await place.csv(collection)).splitlines()
    assert rows == [f"{IMAGE.format(n)},http://library.example/book" for n in (1, 2)]


async def test_a_manifest_behind_a_redirect_that_is_said_to_be_a_web_page_is_read(place: Place, host: IiifHost) -> None:
    async def moved(_: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": "/new/book"})

    async def page(_: web.Request) -> web.Response:
        text = json.dumps(host.documents["book"]).encode()
        return web.Response(body=b"\xef\xbb\xbf" + text, content_type="text/html", charset="latin-1")

    url = host.manifest("book", IMAGE.format(1), "/images/2.jpg")
    host.answers = {"book": moved, "new/book": page}
    collection = await found(place, url)
    await place.read(collection)
    rows = (await place.csv(collection)).splitlines()
    assert [row.partition(",")[0] for row in rows] == [IMAGE.format(1), host.url("images/2.jpg")]


async def test_nested_collections_are_followed_and_each_manifest_counts_once(place: Place, host: IiifHost) -> None:
    first, second = host.manifest("a", IMAGE.format(1)), host.manifest("b", IMAGE.format(2))
    inner = host.collection("inner", ("Manifest", second), ("Manifest", first))
    top = host.collection("top", ("Manifest", first), ("Collection", inner))
    collection = await found(place, top)
    assert difference(await place.read(collection)) == (2, 0, 0)
    assert host.requests["a"] == 1


async def test_the_pages_of_a_collection_are_followed(place: Place, host: IiifHost) -> None:
    """As in Presentation 2.1, 6."""
    pages = [
        {"@type": "sc:Collection", "manifests": [{"@id": host.manifest(f"m{n}", IMAGE.format(n))}]} for n in (1, 2)
    ]
    host.documents["page1"] = {**pages[0], "next": host.url("page2")}
    host.documents["page2"] = pages[1]
    host.documents["top"] = {"@type": "sc:Collection", "first": host.url("page1"), "total": 2}
    collection = await found(place, host.url("top"))
    assert difference(await place.read(collection)) == (2, 0, 0)


async def test_a_collection_inside_itself_is_read_once(place: Place, host: IiifHost) -> None:
    manifest = host.manifest("a", IMAGE.format(1))
    top = host.url("top")
    host.collection("top", ("Manifest", manifest), ("Collection", top))
    collection = await found(place, top)
    assert difference(await place.read(collection)) == (1, 0, 0)
    assert host.requests["top"] == 1


async def test_a_collection_of_nothing_but_itself_is_an_error(place: Place, host: IiifHost) -> None:
    host.collection("top", ("Collection", host.url("top")))
    code, message = await place.failed(await found(place, host.url("top")))
    assert code == "source_invalid"
    assert "refers to itself" in message


async def test_endless_nesting_is_an_error(place: Place, host: IiifHost) -> None:
    async def deeper(request: web.Request) -> web.Response:
        number = int(request.path.removeprefix("/deep"))
        return web.json_response(
            {"type": "Collection", "items": [{"type": "Collection", "id": host.url(f"deep{number + 1}")}]}
        )

    for number in range(50):
        host.answers[f"deep{number}"] = deeper
    code, message = await place.failed(await found(place, host.url("deep0")))
    assert code == "source_too_large"
    assert "nested more than 20 levels" in message


async def test_unchanged_manifests_are_not_sent_again(place: Place, host: IiifHost) -> None:
    collection = await found(place, many(host, 20))
    await place.read(collection)
    host.manifest("m3", IMAGE.format("new"))
    assert difference(await place.read(collection)) == (1, 0, 1)
    assert host.unchanged == 19


async def test_manifests_that_left_the_collection_lose_their_rows(place: Place, host: IiifHost) -> None:
    collection = await found(place, many(host, 5))
    await place.read(collection)
    host.collection("top", *[("Manifest", host.url(f"m{n}")) for n in range(3)])
    assert difference(await place.read(collection)) == (0, 0, 2)


async def test_a_manifest_that_is_down_keeps_its_rows_and_one_that_is_gone_loses_them(
    place: Place, host: IiifHost
) -> None:
    async def down(_: web.Request) -> web.Response:
        return web.Response(status=500)

    collection = await found(place, many(host, 8))
    await place.read(collection)
    host.answers["m1"] = down
    del host.documents["m2"]
    assert difference(await place.read(collection)) == (0, 0, 1)
    assert await place.sources.failure_counts(collection) == {"not_found": 1, "server_error": 1}
    failures = await place.sources.failures(collection, after=0, limit=10)
    assert [failure.identifier for failure in failures] == [host.url("m1"), host.url("m2")]


async def test_a_part_of_the_collection_that_is_down_keeps_its_rows(place: Place, host: IiifHost) -> None:
    manifest, other = host.manifest("a", IMAGE.format(1)), host.manifest("b", IMAGE.format(2))
    inner = host.collection("inner", ("Manifest", manifest))
    top = host.collection("top", ("Collection", inner), ("Manifest", other))
    collection = await found(place, top)
    await place.read(collection)
    del host.documents["inner"]
    source = await place.read(collection)
    assert difference(source) == (0, 0, 0)
    assert source.newest is not None
    assert list(source.newest.warnings) == [
        "1 collection in this source could not be read. Images from earlier readings are kept."
    ]


async def test_a_reading_in_which_most_manifests_failed_leaves_the_content(place: Place, host: IiifHost) -> None:
    collection = await found(place, many(host, 10))
    await place.read(collection)
    before = await place.csv(collection)
    for number in range(6):
        del host.documents[f"m{number}"]
    code, message = await place.failed(collection)
    assert code == "source_unreachable"
    assert "6 of 10 manifests could not be read: not_found (6)" in message
    assert await place.csv(collection) == before


async def test_a_stopped_reading_continues_where_it_was(place: Place, host: IiifHost) -> None:
    stuck = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        stuck.set()
        await asyncio.Event().wait()
        raise AssertionError

    collection = await found(place, many(host, 100))
    host.answers["m70"] = wait
    async with place.reading():
        await stuck.wait()
    del host.answers["m70"]
    assert difference(await place.read(collection)) == (100, 0, 0)
    # The batch that was under way is read again.
    assert sum(host.requests[f"m{n}"] for n in range(100)) <= 100 + 32


async def big(_: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(_)
    for _number in range(2048):
        await response.write(b" " * 1024 * 1024)
    return response


async def away(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "http://169.254.169.254/manifest"})


async def bomb(_: web.Request) -> web.Response:
    compressed = gzip.compress(b" " * (MAX_DOCUMENT_BYTES + 1))
    return web.Response(body=compressed, headers={"Content-Encoding": "gzip"}, content_type="application/json")


def body(text: bytes) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=text, content_type="application/json")

    return answer


@pytest.mark.parametrize(
    ("answer", "code", "problem"),
    [
        (big, "source_too_large", "more than 4194304 bytes"),
        (away, "source_unreachable", "not public"),
        (bomb, "source_too_large", "more than 4194304 bytes"),
        (body(b"[" * 1_000_000), "source_invalid", "recursion limit"),
        (body(b"[" + b"[]," * 1_000_000 + b"[]]"), "source_too_large", "more than 1,000,000 values"),
        (body(b"<html>"), "source_invalid", "found a web page"),
        (body(b'{"type": "Canvas"}'), "source_invalid", "found JSON of the type “Canvas”"),
        (body(b'{"type": "Manifest", "items": []}'), "source_empty", "no image was found"),
    ],
    ids=["2 GB", "private address", "compressed", "nested", "many values", "web page", "canvas", "empty"],
)
async def test_a_hostile_document_ends_the_reading_with_one_clear_error(
    place: Place, host: IiifHost, answer: Answer, code: str, problem: str
) -> None:
    host.answers["top"] = answer
    found_code, message = await place.failed(await found(place, host.url("top")))
    assert found_code == code
    assert problem in message


async def test_pages_of_a_book_are_no_views_for_those_who_learn(place: Place, host: IiifHost) -> None:
    url = host.manifest("book", IMAGE.format(1), IMAGE.format(2))
    pages = await found(place, url)
    views = await place.create(NewSource(SourceType.IIIF, url, views=True))
    await place.read(pages)
    await place.read(views)
    images = Images(place.database)
    assert [image.repo_url for image in await images.page(pages, 1, after=0, limit=10)] == ["", ""]
    assert [image.repo_url for image in await images.page(views, 1, after=0, limit=10)] == [url, url]
    # Results link to the book all the same.
    first = (await images.page(pages, 1, after=0, limit=1))[0].id
    assert (await images.by_id(pages, 1, [first]))[first].repo_url == url


async def test_label_attribution_and_rights_are_stored(place: Place, host: IiifHost) -> None:
    url = host.manifest(
        "book",
        IMAGE.format(1),
        rights="http://creativecommons.org/publicdomain/mark/1.0/",
        requiredStatement={"value": {"en": ["<b>Example</b> Library"]}},
    )
    collection = await found(place, url)
    await place.read(collection)
    assert await Records(place.database).details(collection, [IMAGE.format(1)]) == {
        IMAGE.format(1): ImageDetails("book", "Example Library", "http://creativecommons.org/publicdomain/mark/1.0/")
    }


def stream(host: IiifHost, *pages: list[dict[str, object]]) -> str:
    """Add a stream of activities, and return its URL. pages: the activities of each page, oldest first."""
    for number, activities in enumerate(pages):
        page: dict[str, object] = {"type": "OrderedCollectionPage", "orderedItems": activities}
        if number:
            page["prev"] = {"id": host.url(f"page{number - 1}"), "type": "OrderedCollectionPage"}
        host.documents[f"page{number}"] = page
    last = {"id": host.url(f"page{len(pages) - 1}"), "type": "OrderedCollectionPage"}
    host.documents["stream"] = {"type": "OrderedCollection", "id": host.url("stream"), "last": last}
    return host.url("stream")


def activity(kind: str, address: str, day: int, **more: object) -> dict[str, object]:
    moment = f"2026-01-{day:02}T00:00:00Z"
    return {"type": kind, "object": {"id": address, "type": "Manifest"}, "endTime": moment, **more}


async def test_a_stream_of_activities_names_the_manifests_and_later_only_changes(place: Place, host: IiifHost) -> None:
    urls = [host.manifest(f"m{n}", IMAGE.format(n)) for n in range(4)]
    first = [activity("Create", urls[0], 1), activity("Create", urls[1], 2)]
    second = [activity("Update", urls[0], 3), activity("Create", urls[2], 4), activity("Delete", urls[1], 5)]
    collection = await found(place, stream(host, first, second))
    assert difference(await place.read(collection)) == (2, 0, 0)
    assert host.requests["m1"] == 0
    host.requests.clear()
    third = [activity("Move", urls[2], 7, target={"id": urls[3]}), activity("Delete", urls[0], 8)]
    stream(host, first, second, third)
    assert difference(await place.read(collection)) == (1, 0, 2)
    assert (await place.csv(collection)).startswith(IMAGE.format(3))
    # The page before has an activity of the moment at which the last reading stopped.
    assert host.requests == {"stream": 1, "page2": 1, "page1": 1, "m3": 1}


async def test_earlier_activities_than_a_refresh_do_not_count(place: Place, host: IiifHost) -> None:
    urls = [host.manifest(f"m{n}", IMAGE.format(n)) for n in range(2)]
    old = [activity("Create", urls[0], 1)]
    refreshed: list[dict[str, object]] = [
        {"type": "Refresh", "endTime": "2026-01-02T00:00:00Z"},
        activity("Update", urls[1], 3),
    ]
    collection = await found(place, stream(host, old, refreshed))
    assert difference(await place.read(collection)) == (1, 0, 0)


async def test_a_stream_in_a_circle_is_an_error(place: Place, host: IiifHost) -> None:
    url = stream(host, [activity("Create", host.manifest("m", IMAGE.format(1)), 1)])
    page = host.documents["page0"]
    assert isinstance(page, dict)
    page["prev"] = host.url("page0")
    code, message = await place.failed(await found(place, url))
    assert code == "source_invalid"
    assert "form a loop" in message
