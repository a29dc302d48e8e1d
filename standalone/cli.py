"""The `similis` command line."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from catalog.postgres.database import with_ca_file
from servicekit.process.service import EXIT_CONFIG, StartupError
from servicekit.settings import SettingsError, load_settings
from servicekit.telemetry.logs import configure_logging
from servicekit.version import VERSION
from standalone.config import StandaloneSettings
from standalone.keys import create_key, delete_key, ensure_key, list_keys
from standalone.postgres.database import instance_database
from standalone.schema import bring_up_to_date, migrated
from standalone.up import UpOptions, up

DEFAULT_DATA = "data"
URL_HELP = (
    "a Postgres server instead of a data directory (better in SIMILIS_DATABASE_URL: other users of the machine can see "
    "a command line)"
)


def run(arguments: Sequence[str]) -> int:
    """Runs one command and gives the exit status: 0, 1 for what failed, 2 for wrong usage, 78 for a wrong setting."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings(StandaloneSettings)
        configure_logging("similis", level=settings.log_level, log_format=settings.log_format)
    except (SettingsError, ValueError) as error:
        sys.stderr.write(f"similis: {error}\n")
        return EXIT_CONFIG
    command: Callable[[argparse.Namespace, StandaloneSettings], Awaitable[None]] = options.command
    try:
        asyncio.run(_awaited(command(options, settings)))
    except StartupError as error:
        sys.stderr.write(f"similis: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _awaited(command: Awaitable[None]) -> None:
    await command


async def _up(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    asked = UpOptions(
        options.data.absolute(), options.host, options.port, options.allow_private_addresses, options.metrics_port
    )
    await up(asked, settings)


async def _migrate(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    async with _database(options, settings) as url:
        applied = await migrated(url)
    sys.stderr.write(f"similis: applied {', '.join(applied) if applied else 'nothing, the schema is up to date'}\n")


async def _create_key(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    async with _keys_database(options, settings) as url:
        await create_key(url, options.name)


async def _ensure_key(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    async with _keys_database(options, settings) as url:
        await ensure_key(url, options.name, options.secret_file)


async def _list_keys(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    async with _keys_database(options, settings) as url:
        await list_keys(url)


async def _delete_key(options: argparse.Namespace, settings: StandaloneSettings) -> None:
    async with _keys_database(options, settings) as url:
        await delete_key(url, options.id)


@asynccontextmanager
async def _keys_database(options: argparse.Namespace, settings: StandaloneSettings) -> AsyncIterator[str]:
    async with _database(options, settings) as url:
        if _server(options, settings) is None:
            # A data directory has no other time for it; a server is left to 'similis migrate'.
            await bring_up_to_date(url)
        yield url


@asynccontextmanager
async def _database(options: argparse.Namespace, settings: StandaloneSettings) -> AsyncIterator[str]:
    server = _server(options, settings)
    if server is not None:
        yield with_ca_file(server, settings.database_ca_file)
    else:
        async with instance_database((options.data or Path(DEFAULT_DATA)).absolute()) as url:
            yield url


def _server(options: argparse.Namespace, settings: StandaloneSettings) -> str | None:
    """The URL of the Postgres server that a command is for; None where it is for a data directory."""
    if options.database_url is not None:
        url: str = options.database_url
        return url
    if options.data is None and settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="similis",
        description="Finds the images of a collection that look like a given one, and links each to its entry in a "
        "repository.",
        epilog="Settings of the services are environment variables that begin with SIMILIS_; see the README.",
    )
    parser.add_argument("--version", action="version", version=f"similis {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_up(commands)
    _add_keys(commands)
    migrate = commands.add_parser("migrate", help="bring a database's schema up to this version ('up' does it itself)")
    _add_where(migrate)
    migrate.set_defaults(command=_migrate)
    return parser


def _add_up(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "up",
        help="run everything on this machine, until Ctrl-C or SIGTERM",
        description="Runs Similis and the databases that it needs as processes of this machine. Prints "
        "'ready http://HOST:PORT' on standard output once it can be used, and logs on standard error.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(DEFAULT_DATA),
        metavar="DIR",
        help="where everything is kept (default: ./data)",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    parser.add_argument("--port", type=_port, default=8080, help="port to listen on, 0 for a free one (default: 8080)")
    parser.add_argument(
        "--metrics-port",
        type=_port,
        metavar="PORT",
        help="show the metrics of all processes at http://HOST:PORT/metrics, 0 for a free port (default: only the "
        "gateway's, at /metrics of the API)",
    )
    parser.add_argument(
        "--allow-private-addresses",
        action="store_true",
        help="also fetch images from addresses that are not public, such as those of this network",
    )
    parser.set_defaults(command=_up)


def _add_keys(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    keys = commands.add_parser("keys", help="make, take over, list and delete API keys")
    actions = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)
    create = actions.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--name", required=True, help="what the key is for")
    create.set_defaults(command=_create_key)
    ensure = actions.add_parser(
        "ensure",
        help="make a key of your own the only valid one of its name",
        description="Makes the key in a file valid, and what had its name before invalid; nothing happens if that is "
        "so already. The file holds the key as clients send it: 32 to 200 random characters, such as 'openssl rand "
        "-hex 32' gives.",
    )
    ensure.add_argument("--name", required=True, help="what the key is for")
    ensure.add_argument("--secret-file", required=True, type=Path, metavar="FILE", help="where the key is")
    ensure.set_defaults(command=_ensure_key)
    listing = actions.add_parser("list", help="list the keys that are valid, without their secrets")
    listing.set_defaults(command=_list_keys)
    delete = actions.add_parser("delete", help="make a key invalid at once")
    delete.add_argument("id", type=int, metavar="ID", help="the key's number, as 'list' shows it")
    delete.set_defaults(command=_delete_key)
    for parser in (create, ensure, listing, delete):
        _add_where(parser)


def _add_where(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", type=Path, metavar="DIR", help="the data directory of 'similis up' (default: ./data)")
    where.add_argument("--database-url", metavar="URL", help=URL_HELP)


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return number
