"""Check the databases for `similis check`."""

from catalog.postgres.database import Connection, Database, database_url
from catalog.postgres.migrate import migrations, schema_version
from catalog.settings import StoreSettings
from catalog.vectors.client import Qdrant, QdrantAddress, open_qdrant, qdrant_errors
from servicekit.check.certificates import authorities
from servicekit.check.findings import Check, Finding, failed, ok, service_failure, warning
from servicekit.errors import ServiceError

OLDEST_POSTGRES = 14
OLDEST_QDRANT = (1, 17)
# What the one-machine Qdrant calls itself. Its version is that of its engine.
ONE_MACHINE = "one-machine"
# No generation and no base store of ours has such a name.
NO_COLLECTION = "{prefix}-check"
CONNECTIONS = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
     - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
"""


def store_checks(settings: StoreSettings, *, connections: int, prefix: str, writes: bool) -> dict[str, Check]:
    """Return the checks of Postgres and Qdrant.

    connections: how many connections to Postgres the service opens. prefix: what the names of our Qdrant collections
    begin with. writes: whether the service writes to Qdrant.
    """
    checks: dict[str, Check] = {
        "postgres": _postgres(settings, connections),
        "schema": _schema(settings),
        "qdrant": _qdrant(settings, prefix, writes=writes),
    }
    if settings.database_ca_file is not None:
        checks["postgres authority"] = authorities(settings.database_ca_file, "SIMILIS_DATABASE_CA_FILE")
    if settings.qdrant_ca_file is not None:
        checks["qdrant authority"] = authorities(settings.qdrant_ca_file, "SIMILIS_QDRANT_CA_FILE")
    return checks


def _postgres(settings: StoreSettings, connections: int) -> Check:
    async def check() -> Finding:
        try:
            async with (
                Database.open(database_url(settings), max_connections=1) as database,
                database.connection() as connection,
            ):
                return await _server(connection, connections)
        except ServiceError as error:
            return service_failure(error, "The address in SIMILIS_DATABASE_URL")

    return check


async def _server(connection: Connection, connections: int) -> Finding:
    version = int(await connection.fetchval("SHOW server_version_num"))
    text = f"Postgres {version // 10_000}, database {await connection.fetchval('SELECT current_database()')}"
    if version // 10_000 < OLDEST_POSTGRES:
        return failed(f"{text}. Similis needs Postgres {OLDEST_POSTGRES} or newer.")
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return failed(f"{text}. This server is a standby, which refuses writes. Connect to the primary.")
    free = await connection.fetchval(CONNECTIONS)
    if free < connections:
        return warning(
            f"{text}. {free} connections are free, and each process opens up to {connections}. Raise max_connections, "
            "or lower SIMILIS_DATABASE_CONNECTIONS."
        )
    return ok(text)


def _schema(settings: StoreSettings) -> Check:
    async def check() -> Finding:
        needed = migrations()[-1].version
        try:
            async with Database.open(database_url(settings), max_connections=1) as database:
                found = await schema_version(database)
        except ServiceError as error:
            return failed(f"Not known without the database ({error.code}).")
        if found < needed:
            return failed(f"The database has schema {found}, this release needs {needed}. Run `similis migrate`.")
        return ok(f"version {found}" if found == needed else f"version {found}, of a newer release")

    return check


def _qdrant(settings: StoreSettings, prefix: str, *, writes: bool) -> Check:
    async def check() -> Finding:
        address = QdrantAddress.from_settings(settings)
        async with open_qdrant(address) as client:
            try:
                with qdrant_errors():
                    return await _vector_store(client, prefix, writes=writes)
            except ServiceError as error:
                return service_failure(error, address.target)

    return check


async def _vector_store(client: Qdrant, prefix: str, *, writes: bool) -> Finding:
    # Qdrant answers this call without a key.
    server = await client.server()
    version = tuple(int(part) for part in server.version.split(".")[:2] if part.isdecimal())
    if ONE_MACHINE not in server.title and version < OLDEST_QDRANT:
        needed = ".".join(map(str, OLDEST_QDRANT))
        return failed(f"Qdrant {server.version}. Similis needs Qdrant {needed} or newer.")
    names = await client.collection_names()
    if writes:
        # Removes nothing, but needs the permission to do so.
        await client.delete_collection(NO_COLLECTION.format(prefix=prefix))
    ours = sum(name.startswith(f"{prefix}-") for name in names)
    return ok(f"{server.title} {server.version}, {ours} collections that begin with {prefix}-")
