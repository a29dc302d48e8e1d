"""The tables of the database in files, for backups: what COPY writes, compressed.

The files do not depend on the version of Postgres. The schema itself is not among them: the migrations make it.
"""

import gzip
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast
from zlib import error as ZlibError  # noqa: N812 (it is a class)

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

LISTING = "tables.json"
# Level 3 takes half the time of the default level, for files that are a seventh larger.
COMPRESSION = 3
# asyncpg takes no "unlimited" here.
COPY_SECONDS = 7 * 86400.0

SCHEMA = "(SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
# Without those of extensions. The names of our tables need no quotes.
TABLES = f"""
SELECT c.relname::text AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE c.relnamespace = {SCHEMA} AND c.relkind = 'r' AND c.relname ~ '^[a-z][a-z0-9_]*$' AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
)
GROUP BY c.oid, c.relname ORDER BY c.relname
"""  # noqa: S608 (constants)
SEQUENCES = """
SELECT sequencename::text AS name, last_value FROM pg_sequences
WHERE schemaname = current_schema() AND sequencename ~ '^[a-z][a-z0-9_]*$' ORDER BY sequencename
"""
# What makes loading slow or fixes an order of the tables: foreign keys, and indexes that are not those of a constraint.
REBUILT = f"""
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS drop,
       format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) AS make
FROM pg_constraint WHERE connamespace = {SCHEMA} AND contype = 'f'
UNION ALL
SELECT format('DROP INDEX %s', i.indexrelid::regclass), pg_get_indexdef(i.indexrelid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = {SCHEMA} AND NOT EXISTS (
    SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
) AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
)
"""  # noqa: S608 (constants)


@dataclass(frozen=True)
class Listing:
    """What was written. columns: of each table. sequences: the last value of each; None for an unused one."""

    columns: dict[str, list[str]]
    sequences: dict[str, int | None]


async def table_names(connection: Connection) -> list[str]:
    """Return the names of the tables in the schema that the connection uses, without those of extensions."""
    return [row["name"] for row in await connection.fetch(TABLES)]


async def write_tables(connection: Connection, folder: Path) -> None:
    """Write all tables, as the connection's transaction sees them, into files of a folder. They are durable then."""
    columns = {row["name"]: list(row["columns"]) for row in await connection.fetch(TABLES)}
    for name in columns:
        with _new_file(folder / _file_name(name)) as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=COMPRESSION) as file:
                output = cast("BinaryIO", file)
                await connection.copy_from_table(name, output=output, columns=columns[name], timeout=COPY_SECONDS)
            os.fsync(raw.fileno())
    # Values of a sequence belong to no transaction. Later ones are right, too: no id is given out twice.
    sequences = {row["name"]: row["last_value"] for row in await connection.fetch(SEQUENCES)}
    with _new_file(folder / LISTING) as raw:
        raw.write(json.dumps(asdict(Listing(columns, sequences)), indent=2).encode())
        raw.flush()
        os.fsync(raw.fileno())


async def read_tables(connection: Connection, folder: Path) -> list[str]:
    """Replace the content of all tables with that of the files, in the caller's transaction.

    The schema has the version of that from which the files were written. Returns the names of tables that it does not
    have: they are left out. Raises ValueError if the files are damaged, and asyncpg.PostgresError.
    """
    listing = _listing(folder)
    tables = await table_names(connection)
    if missing := sorted(set(tables) - set(listing.columns)):
        raise ValueError(f"the table {missing[0]} is missing")
    # Foreign keys depend on indexes, so they are dropped first and made last.
    rebuilt = sorted(await connection.fetch(REBUILT), key=lambda row: not row["make"].startswith("ALTER"))
    for row in rebuilt:
        await connection.execute(row["drop"])
    await connection.execute(f"TRUNCATE {', '.join(tables)}")
    for name in tables:
        await _read(connection, name, listing.columns[name], folder)
    for row in reversed(rebuilt):
        await connection.execute(row["make"])
    for name, value in listing.sequences.items():
        if value is not None:
            await connection.execute("SELECT setval(to_regclass($1), $2)", name, value)
    for name in tables:
        await connection.execute(f"ANALYZE {name}")
    return sorted(set(listing.columns) - set(tables))


async def _read(connection: Connection, name: str, columns: list[str], folder: Path) -> None:
    try:
        with gzip.open(folder / _file_name(name)) as file:
            source = cast("BinaryIO", file)
            await connection.copy_to_table(name, source=source, columns=columns, timeout=COPY_SECONDS)
    except (EOFError, ZlibError, gzip.BadGzipFile) as error:
        raise ValueError(f"{_file_name(name)}: {error}") from error


def _listing(folder: Path) -> Listing:
    try:
        return Listing(**json.loads((folder / LISTING).read_bytes()))
    except TypeError as error:
        raise ValueError(f"{LISTING} cannot be read") from error


def _file_name(table: str) -> str:
    return f"{table}.copy.gz"


def _new_file(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
