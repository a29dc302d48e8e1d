"""The options and arguments that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

SERVICE = "Service"

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="SIMILIS_URL",
        metavar="URL",
        show_default=False,
        help="Address of the service. Default: that of the last 'similis login', or http://127.0.0.1:8080.",
        rich_help_panel=SERVICE,
    ),
]
# The key itself is no option: other users of a machine can see command lines.
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        show_default=False,
        help="File that holds the API key. Default: the variable SIMILIS_API_KEY, or the key of 'similis login'.",
        rich_help_panel=SERVICE,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Collection = Annotated[str, typer.Argument(metavar="COLLECTION", help="Id or name of the collection.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show the progress of the finetune until it has ended.")]
