"""Distinguishes a database with damaged files from one that is slow, busy or misconfigured."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from catalog.postgres.table_files import table_names
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError
from standalone.instance.data_directory import DataDirectory

# Like EX_DATAERR of sysexits.h.
EXIT_DAMAGED = 65
# https://www.postgresql.org/docs/current/errcodes-appendix.html. In these classes, a server is starting, recovering or
# stopping, has no memory, disk or connection left, or something is locked.
PASSING = ("08", "53", "55", "57")
# What Postgres finds when it reads its files: internal errors, damaged data and indexes; missing or unreadable files.
IN_FILES = ("XX", "58")
# Our statements are valid, and the schema is that of this release. So if Postgres does not find a database, role,
# schema, table, function or operator, or does not recognise its directory, its system tables have lost them.
IN_SYSTEM_TABLES = ("22023", "28000", "3D000", "3F000", "42P01", "42P07", "42703", "42704", "42883")
# What Postgres writes before it ends. It ends for other reasons, too, such as a wrong permission, no memory, or a
# mistake in a configuration file that somebody has edited.
LAST_WORDS = re.compile(
    "|".join(
        (
            "could not locate a (?:valid|required) checkpoint record",
            "could not find redo location",
            "could not access status of transaction",
            "could not read from (?:WAL|log) segment",
            "WAL ends before consistent recovery point",
            "requested timeline .* is not",
            r"required WAL directory .* does not exist",
            "database files are incompatible with server",
            "incorrect checksum in control file",
            "relation mapping file .* contains",
            "could not open critical system index",
            "invalid page in block",
            "catalog is missing",
            "invalid (?:primary )?checkpoint record",
            'could not access the server configuration file ".*": No such file',
            "could not open (?:file|directory) .*: (?:No such file|Input/output error)",
            "could not read (?:file|blocks?) .*: (?:read [0-9]+ of|read only|Input/output error)",
            "is not a (?:valid data|database cluster) directory",
        )
    )
)
PREFIX = re.compile("(?:FATAL|PANIC|postgres): |but ")
# A connection must be refused twice, this many seconds apart.
CERTAIN_SECONDS = 1.0
# The name by which Postgres knows its directory, which it enters while it is still root. The user that it becomes may
# not be able to reach it by another name.
HERE = "/proc/self/cwd"


class DamagedDatabase(StartupError):
    """The database's files are damaged. Starting it again does not help."""

    def __init__(self, data: DataDirectory, reason: str) -> None:
        reason = PREFIX.sub("", reason).replace(HERE, str(data.cluster)).rstrip(".")
        super().__init__(
            f"the database in {data.cluster} is damaged: {reason}. Its log is {data.logs / 'postgres.log'}. Check the "
            "disk, then restore the newest backup to a new directory: 'similis restore BACKUP --data NEW_DIRECTORY'"
        )


def damage_in_last_words(data: DataDirectory, reason: str) -> DamagedDatabase | None:
    """Return the error if Postgres ended, or keeps ending, because its files are damaged. reason: what it wrote."""
    return DamagedDatabase(data, reason) if LAST_WORDS.search(reason) else None


class Refusals:
    """The connections that Postgres has refused while it starts."""

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._since: float | None = None

    def note(self, error: asyncpg.PostgresError) -> None:
        """Note why it refused one. Raises DamagedDatabase or StartupError if it will always do so."""
        if (error.sqlstate or "").startswith(PASSING):
            return
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since < CERTAIN_SECONDS:
            return
        if _is_damage(error):
            raise DamagedDatabase(self._data, _line(error)) from error
        raise StartupError(f"Postgres refuses connections: {_line(error)}. Its files are in {self._data.cluster}")


@contextmanager
def damage_reported(data: DataDirectory, *, starting: bool = False) -> Iterator[None]:
    """Raise DamagedDatabase in place of an error of the block that comes from damaged files.

    starting: the block only runs statements whose tables, functions and so on exist.
    """
    try:
        yield
    except DamagedDatabase:
        raise
    except (StartupError, ServiceError, asyncpg.PostgresError) as error:
        found: BaseException | None = error
        while found is not None and not isinstance(found, asyncpg.PostgresError):
            found = found.__cause__
        if found is None or not _is_damage(found, IN_FILES + (IN_SYSTEM_TABLES if starting else ())):
            raise
        raise DamagedDatabase(data, _line(found)) from error


async def check_tables(url: str) -> None:
    """Open each of our tables and its indexes. Raises asyncpg.PostgresError if that is not possible."""
    connection = await asyncpg.connect(url, timeout=10.0)
    try:
        for name in await table_names(connection):
            await connection.execute(f"SELECT FROM {name} LIMIT 1")
    finally:
        connection.terminate()


def _is_damage(error: asyncpg.PostgresError, codes: tuple[str, ...] = IN_FILES + IN_SYSTEM_TABLES) -> bool:
    code = error.sqlstate or ""
    if code == asyncpg.InvalidAuthorizationSpecificationError.sqlstate and "does not exist" not in str(error):
        # Somebody has changed who may connect.
        return False
    return code.startswith(codes)


def _line(error: asyncpg.PostgresError) -> str:
    detail = getattr(error, "detail", None)
    return " ".join(": ".join(filter(None, (error.args[0], detail))).split())
