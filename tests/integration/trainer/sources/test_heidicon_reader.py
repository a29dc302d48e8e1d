"""Collections from HeidICON whose reading takes longer than a request: each object once, whatever happens meanwhile."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from catalog.sources.sources import Source
from tests.eventually import eventually
from tests.integration.gateway.easydb import EasyDb, running_easydb, thing, version
from tests.integration.trainer.sources.conftest import Place
from trainer.sources.heidicon_reader import PAGE_OBJECTS

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def easydb() -> AsyncIterator[EasyDb]:
    async with running_easydb() as instance:
        yield instance


async def created(place: Place, easydb: EasyDb) -> int:
    collection, _ = await place.sources.create_from_heidicon("coins", "Coins", easydb.url, 1, "a key")
    return collection


def rows(easydb: EasyDb, count: int) -> list[str]:
    """Return the rows of a content with this many objects."""
    images = "https://images.example.org/{n}/full,1.jpg"
    return [f'"{images.format(n=n)}",{easydb.url}/#/detail/{n}' for n in range(count)]


def ended(source: Source) -> str:
    assert source.newest is not None
    return source.newest.state


async def test_all_objects_become_rows_in_their_order(place: Place, easydb: EasyDb) -> None:
    easydb.objects = [thing(number) for number in range(10 * PAGE_OBJECTS + 7)]
    collection = await created(place, easydb)
    source = await place.read(collection)
    assert (ended(source), source.added) == ("done", len(easydb.objects))
    assert (await place.csv(collection)).splitlines() == rows(easydb, len(easydb.objects))
    assert [content.key_name for content in await place.contents.kept(collection)] == ["a key"]


async def test_another_reading_has_the_order_of_heidicon(place: Place, easydb: EasyDb) -> None:
    easydb.objects = [thing(2), thing(0), thing(1, {"small": version("https://i.example.org/1")})]
    collection = await created(place, easydb)
    await place.read(collection)
    easydb.objects = [thing(0), thing(1), thing(3, {"preview": version("https://i.example.org/3")})]
    source = await place.read(collection)
    assert (await place.csv(collection)).splitlines() == rows(easydb, 2)
    assert (source.added, source.removed) == (1, 2)
    assert await place.sources.failure_counts(collection) == {"no_image": 1}


async def test_a_stopped_reading_continues_where_it_was(place: Place, easydb: EasyDb) -> None:
    easydb.objects = [thing(number) for number in range(20 * PAGE_OBJECTS)]
    collection = await created(place, easydb)
    async with place.reading():
        await eventually(lambda: len(easydb.searches) > 8, seconds=30)
    assert ended(await place.read(collection)) == "done"
    assert (await place.csv(collection)).splitlines() == rows(easydb, len(easydb.objects))
    # The four pages that were under way are read again.
    assert len(easydb.searches) <= 20 + 4


async def test_a_session_that_expires_is_renewed(place: Place, easydb: EasyDb) -> None:
    easydb.objects = [thing(number) for number in range(3 * PAGE_OBJECTS)]
    refused: list[str] = []

    def once(request: web.Request, _: object) -> web.Response | None:
        if request.path != "/api/search" or not easydb.searches or refused:
            return None
        refused.append(request.path)
        return web.json_response({"code": "error.session"}, status=400)

    easydb.fault = once
    assert ended(await place.read(await created(place, easydb))) == "done"
    assert refused


async def test_fewer_objects_than_reported_leave_the_content(place: Place, easydb: EasyDb) -> None:
    easydb.objects = [thing(number) for number in range(5)]
    collection = await created(place, easydb)
    await place.read(collection)
    before = await place.csv(collection)
    easydb.total = lambda _: 6
    code, message = await place.failed(collection)
    assert code == "heidicon_incomplete"
    assert "reported 6 objects but sent only 5" in message
    assert await place.csv(collection) == before


async def test_images_of_an_object_are_views_of_it(place: Place, easydb: EasyDb) -> None:
    source = await place.sources.find(await created(place, easydb))
    assert source is not None
    assert source.settings.views
