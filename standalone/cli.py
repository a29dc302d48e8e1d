"""The `similis` command line."""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path

from catalog.keys.permissions import Permissions, Scope
from catalog.postgres.database import with_ca_file
from catalog.settings import StoreSettings
from servicekit.check.command import add_options
from servicekit.process.descriptors import raise_descriptor_limit
from servicekit.process.service import EXIT_CONFIG, StartupError
from servicekit.settings import SettingsError, load_settings
from servicekit.telemetry.logs import configure_logging
from servicekit.version import VERSION
from standalone import summaries
from standalone.config import StandaloneSettings
from standalone.keys import create_key, delete_key, ensure_key, list_keys, parse_expiry
from standalone.postgres.damage import EXIT_DAMAGED, DamagedDatabase
from standalone.postgres.database import instance_database
from standalone.schema import migrate_data_directory, migrate_database
from standalone.up import UpOptions, up

DEFAULT_DATA = "data"
INTERRUPTED = 130
TERMINATED = 143

SERVICES = ("gateway", "trainer", "embedder")

# Returns the exit status; None stands for 0.
Command = Callable[[argparse.Namespace, StandaloneSettings], Awaitable[int | None]]


def run(arguments: Sequence[str]) -> int:
    """Run one command and return the exit status.

    0: success, 1: the command failed or found a failure, 2: wrong usage, 65: the database is damaged, 78: a wrong
    setting, 130: interrupted, 143: ended by SIGTERM.
    """
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings(StandaloneSettings)
        configure_logging("similis", level=settings.log_level, log_format=settings.log_format)
    except (SettingsError, ValueError) as error:
        return _fail(error, EXIT_CONFIG)
    try:
        return asyncio.run(_run(options.command, options, settings)) or 0
    except SettingsError as error:
        return _fail(error, EXIT_CONFIG)
    except DamagedDatabase as error:
        return _fail(error, EXIT_DAMAGED)
    except StartupError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED


def _fail(error: Exception, status: int) -> int:
    sys.stderr.write(f"similis: {error}\n")
    return status


async def _run(command: Command, options: argparse.Namespace, settings: StandaloneSettings) -> int | None:
    return await command(options, settings)


async def _up(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    # Postgres inherits it.
    raise_descriptor_limit()
    await up(
        UpOptions(
            data=options.data.absolute(),
            host=options.host,
            port=options.port,
            allow_private_addresses=options.allow_private_addresses,
            metrics_port=options.metrics_port,
        ),
        settings,
    )


async def _migrate(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    async with _database(options, settings) as url:
        applied = await migrate_database(url)
    done = f"applied {', '.join(applied)}" if applied else "the database schema is up to date"
    sys.stderr.write(f"similis: {done}\n")


async def _backup(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    # Imported by the commands that need them. They are half of the imports, and `up` would load them at each start.
    from standalone.backup.create import check_backup, create_backup
    from standalone.backup.series import add_backup
    from standalone.backup.stores import instance_stores, server_stores

    directory = options.directory.absolute()
    if options.check:
        check_backup(directory)
        return
    if options.servers:
        opening = server_stores(load_settings(StoreSettings))
    else:
        opening = instance_stores((options.data or Path(DEFAULT_DATA)).absolute(), settings.vector_prefix)
    with _ended_by_sigterm():
        if options.keep is None:
            await create_backup(opening, directory)
        else:
            await add_backup(opening, directory, options.keep)


async def _restore(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    from standalone.backup.restore import restore_backup, restore_servers

    directory = options.directory.absolute()
    with _ended_by_sigterm():
        if options.servers:
            await restore_servers(directory, load_settings(StoreSettings))
        else:
            await restore_backup(
                *(directory, (options.data or Path(DEFAULT_DATA)).absolute()),
                prefix=settings.vector_prefix,
                min_free_bytes=settings.min_free_disk_bytes,
            )


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End the current command on SIGTERM as on Ctrl-C, so that it leaves nothing behind."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a command is a task)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


async def _migrate_from(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    from standalone.migration.migrate_from import MigrationOptions, migrate_from

    async with _migrated_database(options, settings) as url:
        await migrate_from(
            url,
            MigrationOptions(source=options.url, to=options.to, dry_run=options.dry_run, finetune=options.finetune),
        )


async def _create_key(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    async with _migrated_database(options, settings) as url:
        only = None if options.collection is None else frozenset(options.collection)
        await create_key(url, options.name, Permissions(Scope(options.scope), only, options.expires))


async def _ensure_key(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    async with _migrated_database(options, settings) as url:
        await ensure_key(url, options.name, options.secret_file)


async def _list_keys(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    async with _migrated_database(options, settings) as url:
        await list_keys(url)


async def _delete_key(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    async with _migrated_database(options, settings) as url:
        await delete_key(url, options.id)


async def _check(options: argparse.Namespace, _: StandaloneSettings) -> int:
    # A process of its own, because each service checks itself.
    arguments = ("-P", "-m", options.service, "check", "--wait", str(options.wait))
    return await (await asyncio.create_subprocess_exec(sys.executable, *arguments)).wait()


@asynccontextmanager
async def _migrated_database(options: argparse.Namespace, settings: StandaloneSettings) -> AsyncIterator[str]:
    async with _database(options, settings) as url:
        if _server_url(options, settings) is None:
            # Nothing else migrates a data directory that is not running. A server is left to 'similis migrate'.
            await migrate_data_directory(url)
        yield url


@asynccontextmanager
async def _database(options: argparse.Namespace, settings: StandaloneSettings) -> AsyncIterator[str]:
    """Yield the URL of the database that a command is for."""
    server = _server_url(options, settings)
    if server is not None:
        yield with_ca_file(server, settings.database_ca_file)
        return
    async with instance_database((options.data or Path(DEFAULT_DATA)).absolute()) as url:
        yield url


def _server_url(options: argparse.Namespace, settings: StandaloneSettings) -> str | None:
    """Return the URL of the Postgres server that a command is for, or None for a data directory."""
    if options.database_url is not None:
        url: str = options.database_url
        return url
    if options.data is None and settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="similis",
        description="Find the images of a collection that look like a given image. Each result links to its entry in a "
        "repository.",
        epilog="The services read their settings from environment variables that start with SIMILIS_. "
        "docs/configuration.md lists them.",
    )
    parser.add_argument("--version", action="version", version=f"similis {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_up(commands)
    _add_keys(commands)
    migrate = commands.add_parser(
        "migrate",
        help=summaries.MIGRATE,
        description="Bring the database schema up to date. 'similis up' does this itself.",
    )
    _add_database_options(migrate)
    migrate.set_defaults(command=_migrate)
    _add_migrate_from(commands)
    _add_backup(commands)
    _add_check(commands)
    return parser


def _add_backup(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    backup = commands.add_parser(
        "backup",
        help=summaries.BACKUP,
        description="Copy the instance in a data directory, or with --servers the databases of a cluster, to a new "
        "folder: database, vectors and the first API key of an instance. Similis may go on working; everything that it "
        "acknowledged before is in the copy. Prints the folder. Nobody else can read it, because of the keys.",
    )
    backup.add_argument("directory", type=Path, metavar="DIR", help="the folder to create")
    task = backup.add_mutually_exclusive_group()
    task.add_argument(
        "--keep",
        type=_keep,
        metavar="N",
        help="create a folder in DIR, named after the time (UTC), then remove all but the N newest backups there",
    )
    task.add_argument(
        "--check",
        action="store_true",
        help="create nothing: say whether the backup in DIR is complete and unchanged. The exit status is 1 if not",
    )
    restore = commands.add_parser(
        "restore",
        help=summaries.RESTORE,
        description="Make a new data directory from a backup, on this machine or another one and as any user; or with "
        "--servers fill the empty databases of a cluster. Backups of an instance and of servers are the same. The "
        "backup is checked first. If anything fails, nothing is left.",
    )
    restore.add_argument("directory", type=Path, metavar="DIR", help="the folder that 'similis backup' made")
    for parser, text in ((backup, "the data directory of 'similis up'"), (restore, "the data directory to create")):
        stores = parser.add_mutually_exclusive_group()
        stores.add_argument("--data", type=Path, metavar="DIR", help=f"{text} (default: ./data)")
        stores.add_argument(
            "--servers",
            action="store_true",
            help="instead of a data directory, use the Postgres and Qdrant servers of the settings that the trainer "
            "reads: SIMILIS_DATABASE_URL, SIMILIS_QDRANT_ADDRESS, SIMILIS_VECTOR_PREFIX and so on",
        )
    backup.set_defaults(command=_backup)
    restore.set_defaults(command=_restore)


def _add_up(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "up",
        help=summaries.UP,
        description="Run Similis and its databases as processes of this machine, until Ctrl-C or SIGTERM. Prints "
        "'ready http://HOST:PORT' on standard output when it is ready. Logs go to standard error and to DIR/logs.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(DEFAULT_DATA),
        metavar="DIR",
        help="directory for all data, created if it does not exist (default: ./data)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, local only)")
    parser.add_argument("--port", type=_port, default=8080, help="port to listen on, 0 for a free one (default: 8080)")
    parser.add_argument(
        "--metrics-port",
        type=_port,
        metavar="PORT",
        help="serve the metrics of all processes at http://HOST:PORT/metrics, 0 for a free port (default: only the "
        "gateway's metrics, at /metrics of the API, for programs of this machine)",
    )
    parser.add_argument(
        "--allow-private-addresses",
        action="store_true",
        help="also download images from addresses that are not public, such as those of your own network",
    )
    parser.set_defaults(command=_up)


def _add_check(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "check",
        help=summaries.CHECK,
        description="Try everything that a service needs, with the settings in the environment: databases, other "
        "services, certificates, folders and limits. Prints a line for each. The exit status is 1 if something failed.",
    )
    parser.add_argument("service", nargs="?", choices=SERVICES, default=SERVICES[0], help="default: gateway")
    add_options(parser)
    parser.set_defaults(command=_check)


def _add_keys(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    keys = commands.add_parser(
        "keys",
        help=summaries.KEYS,
        description="Create, import, list and delete API keys. 'similis keys COMMAND --help' explains a command.",
    )
    actions = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)
    create = actions.add_parser(
        "create",
        help="create a key and print it",
        description="Create a key and print it on standard output. It is never shown again.",
    )
    create.add_argument("--name", required=True, help="name of the key, for example the program that uses it")
    create.add_argument(
        "--scope",
        choices=[scope.value for scope in Scope],
        default=Scope.ADMIN.value,
        help="what the key may do. read: read and search, where that needs a key; write: also change content and "
        "finetune; admin: also create, rename and delete collections (default: admin)",
    )
    create.add_argument(
        "--collection",
        action="append",
        type=_collection,
        metavar="ID",
        help="the collection that the key is for. Repeat the option for several (default: all collections)",
    )
    create.add_argument(
        "--expires",
        type=_expiry,
        metavar="WHEN",
        help="when the key stops working: a number of days such as 90d, a date (the end of that day, UTC), or a time "
        "such as 2030-12-31T18:00Z (default: never)",
    )
    create.set_defaults(command=_create_key)
    ensure = actions.add_parser(
        "ensure",
        help="import a key of your own from a file",
        description="Make the key in a file the only valid key of its name: other keys of that name stop working. "
        "Running the command again changes nothing. The file holds 32 to 200 random characters, such as the output of "
        "'openssl rand -hex 32'. Clients send them as they are.",
    )
    ensure.add_argument("--name", required=True, help="name of the key, for example the program that uses it")
    ensure.add_argument("--secret-file", required=True, type=Path, metavar="FILE", help="file that holds the key")
    ensure.set_defaults(command=_ensure_key)
    listing = actions.add_parser(
        "list",
        help="list the keys",
        description="List the keys with the times of their creation and last use, and with what they may do. Keys that "
        "expire soon and expired ones are marked. Secrets are not shown.",
    )
    listing.set_defaults(command=_list_keys)
    delete = actions.add_parser("delete", help="delete a key", description="Delete a key. It stops working at once.")
    delete.add_argument("id", type=int, metavar="ID", help="id of the key, as shown by 'similis keys list'")
    delete.set_defaults(command=_delete_key)
    for parser in (create, ensure, listing, delete):
        _add_database_options(parser)


def _add_migrate_from(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "migrate-from",
        help=summaries.MIGRATE_FROM,
        description="Copy the collections of an older similarity service: names, contents and HeidICON tags, "
        "under the same ids where these are free. Only the public routes of the older service are read, and nothing is "
        "changed there. The instance that receives the collections must be running. Run the command again to continue, "
        "or to copy what has changed in the older service since. docs/migration.md is the guide.",
    )
    parser.add_argument(
        "url", metavar="URL", help="address of the older service, such as https://similarity.example.org"
    )
    parser.add_argument(
        "--to",
        default="http://127.0.0.1:8080",
        metavar="URL",
        help="address of the instance that receives the collections (default: http://127.0.0.1:8080)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument(
        "--finetune", action="store_true", help="queue a finetune for each collection that has one in the older service"
    )
    _add_database_options(parser)
    parser.set_defaults(command=_migrate_from)


def _add_database_options(parser: argparse.ArgumentParser) -> None:
    database = parser.add_mutually_exclusive_group()
    database.add_argument(
        "--data", type=Path, metavar="DIR", help="the data directory of 'similis up' (default: ./data)"
    )
    database.add_argument(
        "--database-url",
        metavar="URL",
        help="a Postgres server instead of a data directory. Prefer the variable SIMILIS_DATABASE_URL: other users of "
        "this machine can see command lines",
    )


def _collection(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of a collection; an id is a whole number from 1")
    return int(text)


def _expiry(text: str) -> datetime:
    try:
        return parse_expiry(text)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _keep(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of backups; keep at least 1")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; a port is a number from 0 to 65535")
    return int(text)
