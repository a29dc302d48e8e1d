"""`similis migrate-from`: copy the collections of an older service, with their ids where those are free.

The collections are created in the database, because only there an id can be chosen. Their contents go through the REST
API, which checks them. What was copied is recorded, so that a second run continues the first, and later copies what has
changed in the older service.
"""

import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from catalog.keys.api_keys import ApiKeys
from catalog.migrated_collections import MigratedCollection, MigratedCollections
from catalog.postgres.advisory_lock import MIGRATION_LOCK, try_lock
from catalog.postgres.database import Database
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError
from servicekit.quantities import counted
from servicekit.telemetry.audit import audit
from standalone.migration.csv_repair import NotRepairable, repair
from standalone.migration.instance import Instance, Refused, Stored
from standalone.migration.older_service import OlderCollection, OlderService, OlderServiceError
from standalone.schema import check_schema
from standalone.table import print_table

KEY_NAME = "migrate-from"
MAX_NAME = 200
HEADER = ("OLD ID", "NEW ID", "IMAGES", "NAME", "RESULT")


@dataclass(frozen=True)
class MigrationOptions:
    """The options of `similis migrate-from`. to: the address of our own instance."""

    source: str
    to: str
    dry_run: bool
    finetune: bool


class NeedsAttention(Exception):
    """A collection could not be migrated. The message says why."""


async def migrate_from(url: str, options: MigrationOptions) -> None:
    """Copy the collections of the service at `options.source`. Raises StartupError, also if one could not be copied."""
    await check_schema(url)
    try:
        async with OlderService.open(options.source) as older, Database.open(url, max_connections=3) as database:
            names = await older.names()
            _say(f"{older.url} has {counted(len(names), 'collection')}")
            records = MigratedCollections(database, older.url)
            if options.dry_run:
                await _show_plan(older, names, records)
                return
            async with (
                _only_one(database),
                _temporary_key(ApiKeys(database)) as key,
                Instance.open(options.to, key) as instance,
            ):
                await instance.check()
                await records.reserve(list(names))
                await _Migration(older, records, instance, finetune=options.finetune).run(names)
    except OlderServiceError as error:
        raise StartupError(str(error)) from error
    except ServiceError as error:
        raise StartupError(error.message) from error


class _Migration:
    """One run."""

    def __init__(
        self, older: OlderService, records: MigratedCollections, instance: Instance, *, finetune: bool
    ) -> None:
        self._older = older
        self._records = records
        self._instance = instance
        self._finetune = finetune

    async def run(self, names: dict[int, str]) -> None:
        """Copy each collection. Raises StartupError at the end if one of them needs attention."""
        rows: list[tuple[str, ...]] = []
        failed = 0
        with tempfile.TemporaryDirectory(prefix="similis-migration-") as folder:
            known = await self._records.all()
            for number, (identifier, name) in enumerate(names.items(), 1):
                record, images = known[identifier], ""
                try:
                    collection = await self._older.collection(identifier, name)
                    images = "" if collection.row_count is None else str(collection.row_count)
                    result = await self._copy(collection, record, Path(folder))
                except (OlderServiceError, NeedsAttention, Refused) as error:
                    failed += 1
                    result = f"needs attention: {error}"
                rows.append((str(identifier), str(record.id), images, _printable(name), result))
                _say(f"[{number}/{len(names)}] {identifier} {name!r}: {result}")
        print_table(HEADER, rows)
        if failed:
            raise StartupError(
                f"{failed} of {counted(len(names), 'collection')} could not be migrated; the lines above say why. "
                "Fix that and run the command again. It continues where it stopped"
            )

    async def _copy(self, older: OlderCollection, record: MigratedCollection, folder: Path) -> str:
        if record.name is not None and record.name_here is None:
            return "skipped, because it was deleted here"
        name = _usable_name(older)
        done = await self._copy_name(older, record, name)
        done += await self._copy_content(older, record, folder)
        if self._finetune and older.was_finetuned and older.row_count != 0:
            await self._instance.finetune(record.id)
            done.append("finetune queued")
        return ", ".join(done) or "nothing has changed"

    async def _copy_name(self, older: OlderCollection, record: MigratedCollection, name: str) -> list[str]:
        if record.name is None:
            await self._records.create(record, name, older.heidicon_tag)
            audit("create_collection", "done", collection=record.id, name=name, source=self._older.url)
            kept = (
                [] if record.id == older.id else [f"id {older.id} is already used here, so the new id is {record.id}"]
            )
            return [*kept, *([] if name == older.name else [f"named {name!r} here"])]
        if name == record.name:
            return []
        if record.name_here != record.name:
            return ["renamed in both places, so the name here was kept"]
        await self._records.rename(record, name)
        audit("rename_collection", "done", collection=record.id, name=name, source=self._older.url)
        return ["renamed"]

    async def _copy_content(self, older: OlderCollection, record: MigratedCollection, folder: Path) -> list[str]:
        if older.heidicon_tag is not None:
            return [] if record.has_content else [await self._read_heidicon(record, older.heidicon_tag)]
        csv = folder / "csv"
        digest = await self._older.save_csv(older.id, csv)
        if record.has_content and digest == record.source_digest:
            return []
        if record.has_content and record.digest_here != record.digest:
            return ["content changed in both places, so the content here was kept"]
        if not record.has_content and record.digest_here is not None:
            # Uploaded by hand, perhaps because the CSV could not be used.
            await self._records.content_copied(record, digest)
            return ["content that was uploaded here was kept"]
        done = await self._upload(record, csv, folder / "repaired")
        await self._records.content_copied(record, digest)
        return done

    async def _read_heidicon(self, record: MigratedCollection, tag: str) -> str:
        stored = await self._instance.read_heidicon(record.id)
        await self._records.content_copied(record, None)
        return "; ".join([f"{counted(stored.row_count, 'image')} read from HeidICON (tag {tag!r})", *stored.warnings])

    async def _upload(self, record: MigratedCollection, csv: Path, repaired: Path) -> list[str]:
        if _is_blank(csv):
            return ["empty"]
        try:
            return _described(await self._instance.upload(record.id, csv))
        except Refused as error:
            if error.code != "invalid_csv":
                raise
            refusal = error
        try:
            outcome = repair(csv, repaired)
        except NotRepairable as error:
            raise NeedsAttention(
                f"the CSV cannot be used: {error}. Correct it in the older service and run the command again, or "
                f"upload a corrected one to collection {record.id} here"
            ) from error
        if not outcome.changed and not outcome.blank:
            raise NeedsAttention(f"the CSV was refused: {refusal}")
        described = _described(await self._instance.upload(record.id, repaired))
        return [
            *described,
            f"{counted(outcome.changed, 'row')} repaired",
            f"{counted(outcome.blank, 'blank line')} skipped",
        ]


async def _show_plan(older: OlderService, names: dict[int, str], records: MigratedCollections) -> None:
    known, free = await records.all(), await records.free(list(names))
    rows: list[tuple[str, ...]] = []
    for identifier, name in names.items():
        collection = await older.collection(identifier, name)
        record = known.get(identifier)
        if record is None:
            here, result = (
                (str(identifier), "would be created")
                if identifier in free
                else ("new", "would be created under a new id")
            )
        else:
            here, result = str(record.id), "already migrated: changes would be copied"
        if collection.heidicon_tag is not None:
            result += f", from HeidICON (tag {collection.heidicon_tag!r})"
        images = "" if collection.row_count is None else str(collection.row_count)
        rows.append((str(identifier), here, images, _printable(name), result))
    print_table(HEADER, rows)
    _say("dry run: nothing was changed")


@asynccontextmanager
async def _only_one(database: Database) -> AsyncIterator[None]:
    async with try_lock(database, MIGRATION_LOCK) as acquired:
        if not acquired:
            raise StartupError("another 'similis migrate-from' is running on this database. Wait for it to end")
        yield


@asynccontextmanager
async def _temporary_key(keys: ApiKeys) -> AsyncIterator[str]:
    """Create a key for this run. Keys that killed runs have left are deleted."""
    for left in await keys.list():
        if left.name == KEY_NAME:
            await _delete_key(keys, left.id)
    key = await keys.create(KEY_NAME)
    identifier = int(key.partition(".")[0])
    audit("create_key", "done", key_id=identifier, key_name=KEY_NAME)
    try:
        yield key
    finally:
        await _delete_key(keys, identifier)


async def _delete_key(keys: ApiKeys, identifier: int) -> None:
    await keys.revoke(identifier)
    audit("delete_key", "done", key_id=identifier, key_name=KEY_NAME)


def _usable_name(older: OlderCollection) -> str:
    """Return a name that our API would accept."""
    return _printable(older.name).strip()[:MAX_NAME] or f"Collection {older.id}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _is_blank(csv: Path) -> bool:
    """Return whether a CSV has no cell. The older service writes an empty cell for an empty upload."""
    with csv.open("rb") as file:
        return not file.read(1024).translate(None, b'", \t\r\n') and file.read(1) == b""


def _described(stored: Stored) -> list[str]:
    return [f"{counted(stored.row_count, 'image')} copied", *stored.warnings]


def _say(text: str) -> None:
    sys.stderr.write(f"similis: {text}\n")
