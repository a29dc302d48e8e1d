"""What the server adds to the `similis` command: it is loaded to list the commands, so it imports little."""

from collections.abc import Sequence
from dataclasses import dataclass

from standalone import summaries


@dataclass(frozen=True)
class ServerCommand:
    """A command of the server, by name. help: what it does, in one line."""

    name: str
    help: str

    def __call__(self, arguments: Sequence[str]) -> int:
        """Run the command and return the exit status."""
        from standalone import cli

        return cli.run([self.name, *arguments])


UP = ServerCommand("up", summaries.UP)
KEYS = ServerCommand("keys", summaries.KEYS)
MIGRATE = ServerCommand("migrate", summaries.MIGRATE)
MIGRATE_FROM = ServerCommand("migrate-from", summaries.MIGRATE_FROM)
CHECK = ServerCommand("check", summaries.CHECK)
BACKUP = ServerCommand("backup", summaries.BACKUP)
RESTORE = ServerCommand("restore", summaries.RESTORE)
