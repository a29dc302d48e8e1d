"""`similis migrate-from` against the older service and a real gateway."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from aiohttp import web

from catalog.keys.api_keys import ApiKeys
from catalog.postgres.advisory_lock import MIGRATION_LOCK, try_lock
from catalog.postgres.database import Database
from catalog.postgres.migrate import migrate as migrate_schema
from servicekit.process.service import StartupError
from standalone.migration import older_service
from standalone.migration.migrate_from import MigrationOptions, migrate_from
from tests.integration.databases import new_database
from tests.integration.gateway.api import Api
from tests.integration.gateway.conftest import Launch, Parts
from tests.integration.gateway.easydb import running_easydb, thing
from tests.integration.gateway.older_service import OldCollection, Older, running_older_service

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = [["https://images.example.org/1.jpg", "https://repository.example.org/1"]]
CSV = b"https://images.example.org/1.jpg,https://repository.example.org/1\r\n"

Migrate = Callable[..., Awaitable[None]]


@pytest_asyncio.fixture(loop_scope="session")
async def older() -> AsyncIterator[Older]:
    async with running_older_service() as service:
        service.collections = {
            1: OldCollection("Coins", ROWS),
            4: OldCollection("Maps"),
            7: OldCollection("Prints", ROWS * 3),
        }
        yield service


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(parts: Parts) -> AsyncIterator[str]:
    async with new_database(parts.database_url, migrated=False) as url:
        await migrate_schema(url)
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def keys(database_url: str) -> AsyncIterator[ApiKeys]:
    async with Database.open(database_url) as database:
        yield ApiKeys(database)


@pytest_asyncio.fixture(loop_scope="session")
async def api(database_url: str, launch: Launch, keys: ApiKeys) -> Api:
    api = await launch(database_url=database_url)
    api.key = await keys.create("tests")
    return api


@pytest.fixture
def migrate(older: Older, api: Api, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Migrate:
    monkeypatch.setattr(older_service, "PAUSES", (0.0, 0.0))

    async def run(source: str = "", *, to: str = "", dry_run: bool = False, finetune: bool = False) -> None:
        options = MigrationOptions(source or older.url, to or api.url, dry_run=dry_run, finetune=finetune)
        await migrate_from(database_url, options)

    return run


def shown(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Return the words of each row in the table that the command printed."""
    # Log events are printed there too, until logging is configured.
    lines = (line.split() for line in capsys.readouterr().out.splitlines())
    return [words for words in lines if words and words[0].isdigit()]


async def listed(api: Api) -> dict[int, str]:
    entries = (await api.get("/api/collection/list")).json["names"]
    return {entry["id"]: entry["name"] for entry in entries}


async def test_collections_keep_their_ids_names_and_contents(
    older: Older, api: Api, keys: ApiKeys, migrate: Migrate, capsys: pytest.CaptureFixture[str]
) -> None:
    await migrate(f"{older.url}/api/")
    assert await listed(api) == {1: "Coins", 4: "Maps", 7: "Prints"}
    assert [await api.csv(identifier) for identifier in (1, 4, 7)] == [CSV, b"", CSV * 3]
    assert [row[:3] for row in shown(capsys)] == [["1", "1", "1"], ["4", "4", "0"], ["7", "7", "3"]]
    assert [key.name for key in await keys.list()] == ["tests"]
    assert await api.create("new") == 8


async def test_a_second_run_copies_only_what_has_changed_there(
    older: Older, api: Api, migrate: Migrate, capsys: pytest.CaptureFixture[str]
) -> None:
    await migrate()
    before = [await api.info(identifier) for identifier in (1, 4, 7)]
    capsys.readouterr()
    await migrate()
    assert [await api.info(identifier) for identifier in (1, 4, 7)] == before
    assert capsys.readouterr().out.count("nothing has changed") == 3
    older.collections[1].name = "Old coins"
    older.upload(4, "https://images.example.org/4.jpg, https://repository.example.org/4\n")
    older.collections[9] = OldCollection("Later", ROWS)
    del older.collections[7]
    await migrate()
    assert await listed(api) == {1: "Old coins", 4: "Maps", 7: "Prints", 9: "Later"}
    assert await api.csv(4) == b"https://images.example.org/4.jpg,https://repository.example.org/4\r\n"


async def test_what_was_changed_here_stays(older: Older, api: Api, migrate: Migrate) -> None:
    await migrate()
    ours = b"https://images.example.org/ours.jpg,https://repository.example.org/ours\n"
    (await api.upload_raw(1, ours)).pushed()
    (await api.post("/api/collection/4/updatename", {"name": "Our maps"})).pushed()
    (await api.post("/api/collection/7/delete")).pushed()
    older.upload(1, "https://images.example.org/5.jpg,https://repository.example.org/5")
    older.collections[4].name = "Their maps"
    await migrate()
    assert await listed(api) == {1: "Coins", 4: "Our maps"}
    assert await api.csv(1) == ours


async def test_ids_that_were_ever_given_out_here_are_not_used_again(
    older: Older, api: Api, migrate: Migrate, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        await api.create("ours")
    (await api.post("/api/collection/1/delete")).pushed()
    older.collections[2] = OldCollection("Seals")
    older.collections[2**40] = OldCollection("Odd")
    await migrate(dry_run=True)
    assert await listed(api) == {2: "ours", 3: "ours"}
    assert [row[1] for row in shown(capsys)] == ["new", "new", "4", "7", "new"]
    await migrate()
    found = await listed(api)
    assert found == {2: "ours", 3: "ours", 4: "Maps", 7: "Prints", 8: "Coins", 9: "Seals", 10: "Odd"}
    assert "id 1 is already used here, so the new id is 8" in capsys.readouterr().out
    await migrate()
    assert await listed(api) == found
    assert await api.create("new") == 11


async def test_a_run_that_was_interrupted_is_continued(older: Older, api: Api, migrate: Migrate) -> None:
    older.failures = {"/api/collection/4/csvfile": 3, "/api/collection/1/info": 1, "/api/collection/list": 2}
    with pytest.raises(StartupError, match="1 of 3 collections"):
        await migrate()
    assert await listed(api) == {1: "Coins", 4: "Maps", 7: "Prints"}
    older.upload(4, "https://images.example.org/4.jpg,https://repository.example.org/4")
    await migrate()
    assert (await api.info(4))["number_of_images"] == 1


async def test_ids_are_reserved_before_anything_is_copied(older: Older, api: Api, migrate: Migrate) -> None:
    older.failures = {"/api/collection/1/info": 9}
    with pytest.raises(StartupError):
        await migrate()
    assert await api.create("in between") == 8
    older.failures = {}
    await migrate()
    assert (await listed(api))[1] == "Coins"


async def test_rows_that_the_older_service_has_cut_at_commas_are_repaired(
    older: Older, api: Api, migrate: Migrate, capsys: pytest.CaptureFixture[str]
) -> None:
    older.upload(
        1,
        '"https://iiif.example.org/1/full/512,/0/default.jpg",https://repository.example.org/1\n'
        "https://iiif.example.org/2/full/512,/0/default.jpg,https://repository.example.org/2\n"
        "\n"
        "https://images.example.org/3.jpg\n"
        "https://images.example.org/4.jpg,https://repository.example.org/4,\n",
    )
    await migrate()
    assert (await api.csv(1)).decode().splitlines() == [
        '"https://iiif.example.org/1/full/512,/0/default.jpg",https://repository.example.org/1',
        '"https://iiif.example.org/2/full/512,/0/default.jpg",https://repository.example.org/2',
        "https://images.example.org/3.jpg,",
        "https://images.example.org/4.jpg,https://repository.example.org/4",
    ]
    assert "4 rows repaired, 1 blank line skipped" in capsys.readouterr().out
    await migrate()
    assert "repaired" not in capsys.readouterr().out


async def test_a_csv_that_cannot_be_repaired_is_named_and_the_others_are_copied(
    older: Older, api: Api, migrate: Migrate, capsys: pytest.CaptureFixture[str]
) -> None:
    older.collections[1].rows = [*ROWS, ["https://images.example.org/a.jpg", "b", "c"]]
    older.collections[4].rows = [["ftp://images.example.org/1.jpg", "https://repository.example.org/1"]]
    with pytest.raises(StartupError, match="2 of 3 collections"):
        await migrate()
    output = capsys.readouterr().out
    assert "line 2 has 3 columns: https://images.example.org/a.jpg,b,c" in output
    assert "the CSV was refused: Line 1: " in output
    assert [(await api.info(identifier))["number_of_images"] for identifier in (1, 4, 7)] == [0, 0, 3]
    (await api.upload_raw(1, CSV)).pushed()
    older.upload(4, CSV.decode())
    await migrate()
    assert [await api.csv(identifier) for identifier in (1, 4)] == [CSV, CSV]


async def test_a_heidicon_collection_is_read_from_heidicon(
    older: Older, database_url: str, launch: Launch, migrate: Migrate
) -> None:
    older.collections = {3: OldCollection("From HeidICON", ROWS, heidicon_tag="Coins")}
    async with running_easydb() as easydb:
        easydb.objects = [thing(1), thing(2)]
        api = await launch(database_url=database_url, heidicon_url=easydb.url)
        await migrate(to=api.url)
        info = await api.info(3)
        assert (info["heidicon_tag"], info["number_of_images"]) == ("Coins", 2)
        await migrate(to=api.url)
        assert len(easydb.searches) == 1


@pytest.mark.parametrize(("name", "ours"), [("", "Collection 1"), ("a\nb", "a b"), ("x" * 300, "x" * 200)])
async def test_a_name_that_is_not_allowed_here_is_changed(
    older: Older, api: Api, migrate: Migrate, name: str, ours: str
) -> None:
    older.collections = {1: OldCollection(name)}
    await migrate()
    assert await listed(api) == {1: ours}
    await migrate()
    assert await listed(api) == {1: ours}


async def test_finetunes_are_queued_for_collections_that_had_one(older: Older, api: Api, migrate: Migrate) -> None:
    older.collections[7].last_finetuned = "Tue, 24 Nov 2026 09:43:49 GMT"
    await migrate(finetune=True)
    states = [(await api.info(identifier))["finetuning_state"] for identifier in (1, 4, 7)]
    assert states == ["never", "never", "queued"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (web.Response(status=404), "returned status 404"),
        (web.Response(text="<html>"), "no JSON"),
        (web.json_response([]), "no JSON object"),
        (web.json_response({"ids": [1]}), "no list “names”"),
        (web.json_response({"names": [{"name": "x"}]}), "an entry without an id"),
        (web.json_response({"names": [{"id": "1", "name": "x"}]}), "an entry without an id"),
    ],
)
async def test_what_is_no_older_service_is_reported(
    older: Older, api: Api, migrate: Migrate, answer: web.Response, message: str
) -> None:
    older.answers["/api/collection/list"] = answer
    with pytest.raises(StartupError, match=message):
        await migrate()
    assert await listed(api) == {}


async def test_wrong_addresses_are_reported(
    older: Older, api: Api, parts: Parts, launch: Launch, migrate: Migrate
) -> None:
    for source, message in (
        ("ftp://x", "is not the address of a service"),
        ("similarity.example.org", "is not the address of a service"),
        ("http://127.0.0.1:1", "could not be read"),
    ):
        with pytest.raises(StartupError, match=message):
            await migrate(source)
    with pytest.raises(StartupError, match="Start it, or set its address with --to"):
        await migrate(to="http://127.0.0.1:1")
    other = await launch(database_url=parts.database_url)
    with pytest.raises(StartupError, match="uses a different database"):
        await migrate(to=other.url)
    assert await listed(api) == {}


async def test_two_runs_at_once_are_refused(older: Older, database_url: str, migrate: Migrate) -> None:
    async with Database.open(database_url) as database, try_lock(database, MIGRATION_LOCK):
        with pytest.raises(StartupError, match="another 'similis migrate-from' is running"):
            await migrate()


async def test_keys_that_killed_runs_left_are_deleted(keys: ApiKeys, api: Api, migrate: Migrate) -> None:
    await keys.create("migrate-from")
    await migrate()
    assert [key.name for key in await keys.list()] == ["tests"]


async def test_the_address_of_the_older_service_is_taken_from_any_of_its_urls() -> None:
    for url, base in (
        ("https://Old.example.org", "https://old.example.org"),
        ("https://old.example.org/", "https://old.example.org"),
        ("https://old.example.org/api", "https://old.example.org"),
        ("https://old.example.org/search/api/collection/list", "https://old.example.org/search"),
    ):
        assert older_service.base_address(url) == base
