"""Sources that speak OAI-PMH: every record once, only changes later, and one clear error for what is broken."""

import asyncio
import gzip

import pytest

from catalog.sources.sources import NewSource, Source, SourceType
from tests.eventually import eventually
from tests.integration.trainer.sources.conftest import Place
from tests.integration.trainer.sources.oai_repository import PER_SECOND, Repository

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def harvested(
    place: Place, repository: Repository, *, set_spec: str | None = None, from_date: str | None = None
) -> int:
    source = NewSource(SourceType.OAI, repository.url, metadata_prefix="oai_dc", set_spec=set_spec, from_date=from_date)
    return await place.create(source)


def difference(source: Source) -> tuple[int | None, int | None, int | None]:
    return source.added, source.changed, source.removed


async def test_all_records_become_rows_in_their_order(place: Place, repository: Repository) -> None:
    repository.fill(250)
    collection = await harvested(place, repository)
    source = await place.read(collection)
    rows = (await place.csv(collection)).splitlines()
    assert rows == [f"http://images.example/0/{n}.jpg,http://repository.example/entry/{n}" for n in range(250)]
    assert difference(source) == (250, 0, 0)
    assert source.changed_since is not None


async def test_a_second_reading_asks_only_for_what_has_changed(place: Place, repository: Repository) -> None:
    repository.fill(1000)
    collection = await harvested(place, repository)
    await place.read(collection)
    repository.change(range(10, 20))
    repository.sent.clear()
    source = await place.read(collection)
    assert set(repository.sent) == set(range(10, 20))
    # Another image URL is another image.
    assert difference(source) == (10, 0, 10)


async def test_a_second_reading_without_changes_leaves_the_content(place: Place, repository: Repository) -> None:
    repository.fill(30)
    collection = await harvested(place, repository)
    await place.read(collection)
    before = await place.collections.get(collection)
    repository.now += 1000
    source = await place.read(collection)
    assert difference(source) == (0, 0, 0)
    assert (await place.collections.get(collection)).last_modified == before.last_modified


async def test_deleted_records_lose_their_rows(place: Place, repository: Repository) -> None:
    repository.fill(30)
    collection = await harvested(place, repository)
    await place.read(collection)
    repository.change(range(5), deleted=True)
    source = await place.read(collection)
    assert difference(source) == (0, 0, 5)
    assert (await place.collections.get(collection)).row_count == 25


async def test_a_repository_that_forgets_deletions_is_asked_for_everything_after_a_week(
    place: Place, repository: Repository
) -> None:
    repository.fill(30)
    repository.deleted_record = "no"
    collection = await harvested(place, repository)
    await place.read(collection)
    del repository.records[3]
    repository.now += 1000
    assert difference(await place.read(collection)) == (0, 0, 0)
    async with place.database.connection() as connection:
        await connection.execute("UPDATE sources SET last_whole = now() - interval '8 days'")
    assert difference(await place.read(collection)) == (0, 0, 1)


async def test_a_kill_reads_at_most_one_page_twice(place: Place, repository: Repository) -> None:
    repository.fill(2000)
    collection = await harvested(place, repository)
    # The worker stops in the middle of a page and without giving the reading back, as if it were killed.
    async with place.reading():
        await eventually(lambda: len(repository.sent) > 1000, seconds=30)
    async with place.database.connection() as connection:
        await connection.execute("UPDATE source_readings SET state = 'running', lease_until = now()")
    source = await place.read(collection)
    assert difference(source) == (2000, 0, 0)
    assert repository.sent.total() <= 2000 + repository.page_size


async def test_a_kill_an_expired_token_and_two_pauses_together_read_one_page_twice(
    place: Place, repository: Repository
) -> None:
    """`python -m bench.harvest` does it with 100,000 records and a real kill."""
    repository.fill(2000)
    repository.refuse.update({2: 1, 14: 1})
    repository.expired = {6}
    collection = await harvested(place, repository)
    async with place.reading():
        await eventually(lambda: len(repository.sent) > 1000, seconds=30)
    async with place.database.connection() as connection:
        await connection.execute("UPDATE source_readings SET state = 'running', lease_until = now()")
    assert difference(await place.read(collection)) == (2000, 0, 0)
    assert repository.expired == set()
    assert repository.refuse.total() == 0
    rows = (await place.csv(collection)).splitlines()
    assert rows == [f"http://images.example/0/{n}.jpg,http://repository.example/entry/{n}" for n in range(2000)]
    # The page of the kill, and the records of the second at which the token expired: there is no finer position.
    sent_twice = repository.sent.total() - 2000
    assert sent_twice <= repository.page_size + PER_SECOND
    repository.change(range(700, 720))
    repository.sent.clear()
    repository.requests.clear()
    await place.read(collection)
    assert repository.sent == dict.fromkeys(range(700, 720), 1)
    assert [request["verb"] for request in repository.requests] == ["Identify", "ListRecords"]


async def test_an_expired_token_reads_at_most_one_page_twice(place: Place, repository: Repository) -> None:
    repository.fill(2000)
    repository.expired = {7}
    collection = await harvested(place, repository)
    source = await place.read(collection)
    assert difference(source) == (2000, 0, 0)
    assert repository.sent.total() <= 2000 + repository.page_size


async def test_an_expired_token_of_a_list_without_order_begins_the_list_anew(
    place: Place, repository: Repository
) -> None:
    repository.fill(500)
    repository.newest_first = True
    repository.expired = {3}
    collection = await harvested(place, repository)
    assert difference(await place.read(collection)) == (500, 0, 0)


async def test_a_repository_that_asks_to_wait_is_waited_for(place: Place, repository: Repository) -> None:
    repository.fill(300)
    repository.refuse.update({0: 1, 2: 1})
    collection = await harvested(place, repository)
    assert difference(await place.read(collection)) == (300, 0, 0)
    assert repository.sent.total() == 300


async def test_a_set_and_a_date_are_passed_on(place: Place, repository: Repository) -> None:
    repository.fill(100)
    collection = await harvested(place, repository, set_spec="coins", from_date="2026-01-01")
    await place.read(collection)
    assert repository.requests[1] == {
        "verb": "ListRecords",
        "metadataPrefix": "oai_dc",
        "set": "coins",
        "from": "2026-01-01",
    }


async def test_a_repository_with_days_is_asked_with_days(place: Place, repository: Repository) -> None:
    repository.fill(100)
    repository.granularity = "YYYY-MM-DD"
    collection = await harvested(place, repository)
    await place.read(collection)
    await place.read(collection)
    assert repository.requests[-1]["from"] == "2026-04-26"


async def test_a_token_that_repeats_its_page_ends_the_reading(place: Place, repository: Repository) -> None:
    repository.fill(300)
    repository.same_token = True
    collection = await harvested(place, repository)
    code, message = await place.failed(collection)
    assert code == "source_invalid"
    assert "keeps sending the same page" in message


async def test_a_repository_that_rejects_all_its_tokens_ends_the_reading(place: Place, repository: Repository) -> None:
    repository.fill(300)
    repository.newest_first = True
    repository.broken = {
        1: b'<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><error code="badResumptionToken"/></OAI-PMH>'
    }
    collection = await harvested(place, repository)
    code, message = await place.failed(collection)
    assert code == "source_refused"
    assert "badResumptionToken" in message


OAI_PMH = '<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">{}</OAI-PMH>'
DELETED_AND_EMPTY = (
    '<record><header status="deleted"><identifier>a</identifier></header></record>'
    "<record><header><identifier>b</identifier></header></record>"
)
ENTITIES = b"""<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">&b;</OAI-PMH>"""
NESTED = b'<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">' + b"<a>" * 1_000_000


@pytest.mark.parametrize(
    ("body", "code", "problem"),
    [
        (ENTITIES, "source_invalid", "document type declaration"),
        (NESTED, "source_invalid", "nested more than 100 levels"),
        (b'<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><ListRecords>', "source_invalid", "not valid XML"),
        (b"<!doctype html><html></html>", "source_invalid", "not an OAI-PMH 2.0 response"),
        (b"<OAI-PMH>" + bytes(5 * 1024 * 1024), "source_too_large", "more than 4194304 bytes"),
        (gzip.compress(b"<OAI-PMH>" + bytes(5 * 1024 * 1024)), "source_too_large", "more than 4194304 bytes"),
    ],
    ids=["entities", "nested", "cut off", "web page", "too large", "compressed"],
)
async def test_a_hostile_page_ends_the_reading_with_one_clear_error(
    place: Place, repository: Repository, body: bytes, code: str, problem: str
) -> None:
    repository.fill(300)
    repository.broken = {1: body}
    collection = await harvested(place, repository)
    found, message = await place.failed(collection)
    assert found == code
    assert message.startswith("The source could not be read. http://127.0.0.1")
    assert problem in message
    assert (await place.collections.get(collection)).row_count == 0


async def test_a_failed_reading_leaves_the_content(place: Place, repository: Repository) -> None:
    repository.fill(300)
    collection = await harvested(place, repository)
    await place.read(collection)
    before = await place.csv(collection)
    repository.broken = {1: b"nonsense"}
    code, _ = await place.failed(collection, whole=True)
    assert code == "source_invalid"
    assert await place.csv(collection) == before


async def test_a_repository_without_records_is_an_error(place: Place, repository: Repository) -> None:
    collection = await harvested(place, repository, set_spec="coins")
    code, message = await place.failed(collection)
    assert code == "source_empty"
    assert "no oai_dc records in the set coins" in message


async def test_a_repository_without_images_is_an_error(place: Place, repository: Repository) -> None:
    repository.fill(3)
    repository.broken = {0: OAI_PMH.format("<ListRecords>" + DELETED_AND_EMPTY + "</ListRecords>").encode()}
    collection = await harvested(place, repository)
    code, message = await place.failed(collection)
    assert code == "source_empty"
    assert "no image was found in 2 records; the source lists the reasons" in message
    assert await place.sources.failure_counts(collection) == {"no_metadata": 1}


async def test_private_addresses_are_not_read(place: Place, repository: Repository) -> None:
    repository.fill(10)
    place.allow_private = False
    collection = await harvested(place, repository)
    code, message = await place.failed(collection)
    assert code == "source_unreachable"
    assert "not public" in message
    assert repository.requests == []


async def test_a_reading_can_be_cancelled(place: Place, repository: Repository) -> None:
    repository.fill(3000)
    repository.refuse[2] = 100
    collection = await harvested(place, repository)
    async with place.reading():
        await eventually(lambda: len(repository.sent) >= 200, seconds=30)
        async with place.database.connection() as connection:
            await connection.execute("UPDATE source_readings SET cancel_requested = true")
        await asyncio.wait_for(place.ended(collection), 30)
    assert (await place.newest(collection)).state == "cancelled"
    assert (await place.collections.get(collection)).row_count == 0


async def test_a_source_with_finetune_queues_one_unless_search_serves_its_content(
    place: Place, repository: Repository
) -> None:
    repository.fill(20)
    source = NewSource(SourceType.OAI, repository.url, metadata_prefix="oai_dc", then_finetune=True)
    collection = await place.create(source)
    await place.read(collection)
    assert (await place.collections.get(collection)).job is not None
    await place.read(collection)
    first = (await place.collections.get(collection)).job
    await place.jobs.cancel_active(collection)
    await place.read(collection)
    second = (await place.collections.get(collection)).job
    assert first is not None
    assert second is not None
    assert (second.state, second.id) == ("queued", first.id + 1)
