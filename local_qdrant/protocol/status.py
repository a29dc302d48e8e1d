"""The errors of requests, with gRPC's status codes as plain numbers: engine processes do not load gRPC."""

from enum import IntEnum


class Code(IntEnum):
    """The gRPC status codes that this server uses."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15


class StatusError(Exception):
    """A request failed. The message is for the caller."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> StatusError:
    """Return the error for wrong input: the same request will never succeed."""
    return StatusError(Code.INVALID_ARGUMENT, f"Wrong input: {message}")


def unsupported(what: str) -> StatusError:
    """Return the error for a feature of Qdrant that this server does not have."""
    return StatusError(Code.UNIMPLEMENTED, f"Not supported by the one-machine Qdrant: {what}")


def missing_collection(name: str) -> StatusError:
    """Return the error for a collection that does not exist."""
    return StatusError(Code.NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!")


def unavailable(message: str) -> StatusError:
    """Return the error for a process that is gone: the same request may succeed in a moment."""
    return StatusError(Code.UNAVAILABLE, message)


def exhausted(message: str) -> StatusError:
    """Return the error for a full queue or disk. Nothing was changed."""
    return StatusError(Code.RESOURCE_EXHAUSTED, message)
