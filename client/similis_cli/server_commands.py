"""The commands of the service itself, such as `up` and `keys`, which are there when it is installed."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

# The server's distribution declares its commands in this group. An entry point has the name of the command and loads a
# ServerCommand.
GROUP = "similis.commands"


class ServerCommand(Protocol):
    """A command that another distribution adds. help: what it does, in one line."""

    @property
    def help(self) -> str: ...

    def __call__(self, arguments: Sequence[str]) -> int:
        """Run it with the arguments after its name, and return the exit status."""
        ...


def server_command(name: str) -> ServerCommand | None:
    """Return an installed command, or None."""
    for found in entry_points(group=GROUP, name=name):
        command: ServerCommand = found.load()
        return command
    return None


def server_commands() -> dict[str, ServerCommand]:
    """Return the installed commands by name."""
    return {found.name: found.load() for found in entry_points(group=GROUP)}
