"""Connections to Postgres, and the mapping of its errors to service errors."""

import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import asyncpg
from asyncpg.connection import LoggedQuery
from asyncpg.pool import PoolConnectionProxy

from catalog.settings import StoreSettings
from servicekit.connection_failure import ConnectionFailure, failure_of
from servicekit.errors import DeadlineExceeded, NoSpace, Overloaded, ServiceError, Unavailable
from servicekit.request_context import remaining
from servicekit.settings import read_authorities
from servicekit.telemetry.tracing import database_call, is_tracing

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

# The time limit of a statement outside of any request.
STATEMENT_SECONDS = 60.0
ACQUIRE_SECONDS = 5.0
# Limits that operators set for all connections. The keepalive stops networks from forgetting an idle connection.
NO_LIMITS = """
SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
SET tcp_keepalives_idle = 60; SET TimeZone = 'UTC'
"""

_TRANSIENT = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
)


def with_ca_file(dsn: str, ca_file: Path | None) -> str:
    """Return a database URL that trusts only the certificate authorities in `ca_file` (PEM).

    The file is read at each connect. Without a file the URL is returned unchanged. TLS parameters that the URL already
    has are kept.
    """
    if ca_file is None:
        return dsn
    parts = urlsplit(dsn)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    query = urlencode({"sslmode": "verify-full", "sslrootcert": str(ca_file), **given}, quote_via=quote)
    return parts._replace(query=query).geturl()


def database_url(settings: StoreSettings) -> str:
    """Return the database URL that a service is configured with. Raises SettingsError."""
    if settings.database_ca_file is not None:
        read_authorities(settings.database_ca_file, "DATABASE_CA_FILE")
    return with_ca_file(settings.database_url.get_secret_value(), settings.database_ca_file)


_VERB = re.compile(r"^\s*([A-Za-z]+)")
# A function, such as unnest, is no table.
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE|TABLE|JOIN)\s+([a-z_]+)\b(?!\()")


class Database:
    """A pool of connections. After any failure except a rejected statement, a connection is dropped, not reused."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", max_connections: int) -> None:
        self._pool = pool
        self._max_connections = max_connections
        # How many callers have a connection or wait for one.
        self._borrowed = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, *, max_connections: int = 10) -> AsyncIterator["Database"]:
        """Open a pool while entered. It connects on first use, so a server that is down is not an error here."""
        pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=max_connections,
            command_timeout=STATEMENT_SECONDS,
            timeout=ACQUIRE_SECONDS,
            max_inactive_connection_lifetime=60.0,
            init=_add_tracing if is_tracing() else None,
            reset=_keep_session,
            server_settings={"application_name": "similis", "TimeZone": "UTC"},
        )
        await pool
        try:
            yield cls(pool, max_connections)
        finally:
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Borrow a connection in autocommit mode. The session must be left as it was: see `session`.

        Raises Unavailable when Postgres does not respond, Overloaded when all connections are taken, DeadlineExceeded
        when the request's time is over, and NoSpace when the database's disk is full.
        """
        with _postgres_errors():
            self._borrowed += 1
            try:
                connection = await self._acquired()
            except BaseException:
                self._borrowed -= 1
                raise
            try:
                yield connection
            except asyncpg.ReadOnlySQLTransactionError:
                # The server has become a standby. The next connection finds the new primary.
                _drop(connection)
                raise
            except (asyncpg.PostgresError, ServiceError):
                raise
            except BaseException:
                _drop(connection)
                raise
            finally:
                self._borrowed -= 1
                await self._pool.release(connection, timeout=ACQUIRE_SECONDS)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._borrowed += 1
        try:
            yield
        finally:
            self._borrowed -= 1

    async def _acquired(self) -> Connection:
        seconds = remaining(ACQUIRE_SECONDS)
        # If one is free, only connecting takes time, for which the pool has the same limit. A second one costs a task.
        is_limited = seconds < ACQUIRE_SECONDS or self._borrowed > self._max_connections
        try:
            return await self._pool.acquire(timeout=seconds if is_limited else None)
        except TimeoutError:
            all_taken = not self._pool.get_idle_size() and self._pool.get_size() == self._pool.get_max_size()
            if seconds < ACQUIRE_SECONDS or not all_taken:
                raise
            raise Overloaded("Too many requests are waiting for the database. Try again later.") from None
        except (asyncpg.PostgresError, ValueError) as error:
            raise _refused(error) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Borrow a connection inside a transaction, committed unless it fails. Raises as `connection` does."""
        async with self.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except (asyncpg.PostgresError, ServiceError):
                with suppress(asyncpg.InterfaceError):
                    await transaction.rollback()
                raise
            # Any other error, a cancellation above all, drops the connection: a rollback could block or hide the error.
            await transaction.commit()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """Borrow a connection for statements that change its session, such as LISTEN, and reset it afterwards.

        After any error it is dropped. Raises as `connection` does.
        """
        async with self.connection() as connection:
            try:
                yield connection
            except BaseException:
                _drop(connection)
                raise
            await connection.execute(connection.get_reset_query())

    async def ping(self) -> None:
        """Check that Postgres answers a statement. Raises as `connection` does."""
        async with self.connection() as connection:
            await connection.execute("SELECT 1", timeout=remaining(ACQUIRE_SECONDS))


async def _keep_session(_: "asyncpg.Connection[asyncpg.Record]", /) -> None:
    """Replace the statement with which the pool resets a session whenever a connection is returned.

    It would take as long as most of our statements. Only `Database.session` changes a session.
    """


async def _add_tracing(connection: "asyncpg.Connection[asyncpg.Record]", /) -> None:
    connection.add_query_logger(_trace)


def _trace(query: LoggedQuery) -> None:
    # The pool itself runs this when a connection is returned.
    if "pg_advisory_unlock_all" in query.query:
        return
    name = _statement_name(query.query)
    failure = None if query.exception is None else type(query.exception).__name__
    attributes = {"db.system.name": "postgresql", "db.query.summary": name}
    database_call(name, attributes, query.elapsed, failure)


@lru_cache(maxsize=512)
def _statement_name(statement: str) -> str:
    """Return a statement's verb and its first table, for example "SELECT collections"."""
    verb, table = _VERB.search(statement), _TABLE.search(statement)
    return " ".join(found[1] for found in (verb, table) if found is not None)


def _drop(connection: Connection) -> None:
    # A connection that has broken already belongs to the pool again, and raises instead of closing.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


@asynccontextmanager
async def long_session(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """Open a connection for work that takes hours, such as a backup: no statement and no idle time has a limit.

    Raises as `Database.connection` does when it cannot be opened, and asyncpg's own errors later.
    """
    with _postgres_errors():
        try:
            connection = await asyncpg.connect(dsn, timeout=ACQUIRE_SECONDS)
        except (asyncpg.PostgresError, ValueError) as error:
            raise _refused(error) from error
    try:
        await connection.execute(NO_LIMITS)
        yield connection
    finally:
        connection.terminate()


def _refused(error: asyncpg.PostgresError | ValueError) -> Exception:
    """Return the error for the caller when the server refuses a connection, or when the URL is wrong."""
    if isinstance(error, ValueError):
        # What asyncpg finds in the URL and our settings do not. An unknown certificate is a ValueError, too.
        if isinstance(error, OSError):
            return error
        return Unavailable("SIMILIS_DATABASE_URL is not valid.", code="database_access_denied")
    if isinstance(error, asyncpg.InvalidPasswordError):
        return Unavailable("The database refused the password in SIMILIS_DATABASE_URL.", code="database_access_denied")
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        message = "The database refused the user in SIMILIS_DATABASE_URL, or it accepts only connections over TLS."
        return Unavailable(message, code="database_access_denied")
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        message = "The database that SIMILIS_DATABASE_URL names does not exist."
        return Unavailable(message, code="database_missing")
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return _not_permitted()
    return Unavailable("The database is not available.", code="database_unavailable")


def _not_permitted() -> Unavailable:
    message = "The user in SIMILIS_DATABASE_URL lacks a privilege. It must own the database and its tables."
    return Unavailable(message, code="database_access_denied")


def _tls_failed(error: BaseException) -> Unavailable | None:
    """Return the error for the caller if TLS is what failed."""
    if isinstance(error, ssl.SSLError):
        failure = failure_of(error)
    elif isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        failure = ConnectionFailure.NO_TLS
    else:
        return None
    message = f"The TLS connection to the database failed: {failure.value}. See SIMILIS_DATABASE_CA_FILE and sslmode."
    return Unavailable(message, code="database_tls_failed")


class _postgres_errors:  # noqa: N801 (a context manager that is written like a function)
    """Map the errors of asyncpg to service errors. Errors that point to a bug of ours are not mapped."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, ServiceError):
            return
        if isinstance(error, asyncpg.DiskFullError):
            raise NoSpace("The database's disk is full.") from error
        if isinstance(error, TimeoutError | asyncpg.QueryCanceledError):
            raise DeadlineExceeded("The database did not respond in time.") from error
        if (failed := _tls_failed(error)) is not None:
            raise failed from error
        if isinstance(error, asyncpg.InsufficientPrivilegeError):
            raise _not_permitted() from error
        if isinstance(error, _TRANSIENT) or _is_broken_connection(error):
            raise Unavailable("The database is not available.", code="database_unavailable") from error


def _is_broken_connection(error: BaseException) -> bool:
    return isinstance(error, OSError | asyncpg.InternalClientError) or (
        isinstance(error, asyncpg.InterfaceError) and "connection" in str(error)
    )
