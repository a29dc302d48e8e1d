"""The command line: all commands, and the exit status."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from similis_cli.commands import collections, finetuning, images, login, searching, sources
from similis_cli.problems import report
from similis_cli.server_commands import server_command, server_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COLLECTIONS, SEARCH, ACCESS, SERVER = "Collections", "Search", "Access", "The service on this machine"
EPILOG = (
    "Exit statuses: 0 success, 1 refused or failed, 2 wrong usage, 3 key missing or not allowed, 4 service unreachable "
    "or faulty, 5 finetune failed or cancelled, 78 wrong setting, 130 interrupted."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command of this process's command line, or of the given one, and return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    app, ours = _app()
    if given and not given[0].startswith("-") and given[0] not in ours:
        # The server's commands parse their arguments themselves.
        command = server_command(given[0])
        if command is not None:
            return command(given[1:])
    if not given or given[0] in ("--help", "-h") or given[0] not in ours:
        _add_server_commands(app)
    try:
        app(given, prog_name="similis")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except Exception as error:
        return report(error)
    return 0


def _app() -> tuple[typer.Typer, set[str]]:
    """Return the application, and the names of its commands."""
    app = typer.Typer(
        help="Search collections of images for those that look like a given one.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    panels: dict[str, dict[str, Callable[..., None]]] = {
        COLLECTIONS: {
            "list": collections.list_collections,
            "status": collections.status,
            "import": collections.import_content,
            "finetune": finetuning.finetune,
            "cancel": finetuning.cancel,
            "failures": finetuning.failures,
            "duplicates": finetuning.duplicates,
            "export": collections.export,
            "rename": collections.rename,
            "delete": collections.delete,
        },
        SEARCH: {"search": searching.search, "similar": searching.similar},
        ACCESS: {"login": login.login, "logout": login.logout},
    }
    for panel, commands in panels.items():
        for name, command in commands.items():
            app.command(name, rich_help_panel=panel)(command)
    group = typer.Typer(help="List, add and remove the images of a collection.", no_args_is_help=True)
    group.command("list")(images.list_images)
    group.command("add")(images.add_images)
    group.command("remove")(images.remove_images)
    app.add_typer(group, name="images", rich_help_panel=COLLECTIONS)
    group = typer.Typer(
        help="Show or read the source of a collection, cancel a reading, or change the schedule.", no_args_is_help=True
    )
    group.command("show")(sources.show)
    group.command("read")(sources.read)
    group.command("cancel")(sources.cancel)
    group.command("schedule")(sources.schedule)
    app.add_typer(group, name="source", rich_help_panel=COLLECTIONS)
    ours = {command.name for command in app.registered_commands if command.name} | {"images", "source"}
    return app, ours


def _show_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"{_versions()}\n")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options before the command. `_show_version` has handled the only one."""
    del version


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    client = f"similis-client {version_of('similis-client')}"
    try:
        return f"similis {version_of('similis')}, {client}"
    except PackageNotFoundError:
        return client


def _add_server_commands(app: typer.Typer) -> None:
    """Add the server's commands to the help and to completion. `main` runs them before they are parsed here."""

    def named(_context: typer.Context) -> None:
        raise AssertionError("A command of the server was parsed twice.")

    for name, command in server_commands().items():
        summary = f"{command.help[0].upper()}{command.help[1:]}."
        app.command(name, help=summary, rich_help_panel=SERVER)(named)
