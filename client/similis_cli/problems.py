"""Exit statuses, and what a person reads when a command fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NoReturn

from similis_cli.output import note, printable


class Status(IntEnum):
    """The exit statuses. Those of the service's own commands are the same as far as they have them."""

    FAILED = 1
    USAGE = 2
    FORBIDDEN = 3
    UNAVAILABLE = 4
    FINETUNE_FAILED = 5
    SETTING = 78
    INTERRUPTED = 130


class CommandError(Exception):
    """A command that cannot go on. The message is for people."""

    def __init__(self, message: str, status: Status = Status.FAILED) -> None:
        super().__init__(message)
        self.status = status


def report(error: Exception) -> int:
    """Say on standard error why a command failed, and return the exit status. Raises errors that are defects."""
    if isinstance(error, CommandError):
        return _say(str(error), error.status)
    if isinstance(error, OSError):
        return _say(_of_file(error), Status.FAILED)
    from similis_client import (
        ConnectionFailed,
        FinetuneFailed,
        Forbidden,
        ServerFailure,
        SimilisError,
        TemporaryFailure,
        UnexpectedAnswer,
    )

    if not isinstance(error, SimilisError):
        raise error
    words = error.detail
    sentence = words if words.endswith((".", "!", "?")) else f"{words}."
    if isinstance(error, Forbidden):
        return _say(f"{sentence} Set the key with 'similis login', --key-file or SIMILIS_API_KEY.", Status.FORBIDDEN)
    if isinstance(error, ConnectionFailed | UnexpectedAnswer):
        return _say(f"{sentence} Set the address with 'similis login', --url or SIMILIS_URL.", Status.UNAVAILABLE)
    if error.request_id is not None and isinstance(error, ServerFailure | TemporaryFailure):
        words = f"{sentence} The logs of the service have more under the request id {error.request_id}."
    status = Status.FAILED
    if isinstance(error, FinetuneFailed):
        status = Status.FINETUNE_FAILED
    elif isinstance(error, ServerFailure | TemporaryFailure):
        status = Status.UNAVAILABLE
    return _say(f"{words} ({error.code})", status)


def fail(message: str, status: Status = Status.FAILED) -> NoReturn:
    """End the command with a message."""
    raise CommandError(message, status)


@contextmanager
def prompting() -> Iterator[None]:
    """End the command as interrupted if a question is answered with Ctrl-C or Ctrl-D."""
    import typer

    try:
        yield
    except typer.Abort:
        note("")
        raise typer.Exit(Status.INTERRUPTED) from None


def _say(message: str, status: Status) -> int:
    note("\n".join(printable(line) for line in f"similis: {message}".splitlines()))
    return status


def _of_file(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
