"""How a request is refused: gRPC's status codes as plain numbers, so that engine processes need no gRPC."""

from enum import IntEnum


class Code(IntEnum):
    """The status codes of gRPC that this server answers with."""

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
    """A request that ends with a status other than OK. The message is meant for the caller."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> StatusError:
    """The caller's input is wrong; the same request will never succeed."""
    return StatusError(Code.INVALID_ARGUMENT, f"Wrong input: {message}")


def unsupported(what: str) -> StatusError:
    """The request asks for a part of Qdrant that this server does not have."""
    return StatusError(Code.UNIMPLEMENTED, f"Not supported by the one-machine Qdrant: {what}")


def missing_collection(name: str) -> StatusError:
    """The collection that the request names does not exist."""
    return StatusError(Code.NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!")


def unavailable(message: str) -> StatusError:
    """The process that holds the collection is away; the same request may succeed in a moment."""
    return StatusError(Code.UNAVAILABLE, message)


def exhausted(message: str) -> StatusError:
    """A queue or the disk is full; nothing was changed."""
    return StatusError(Code.RESOURCE_EXHAUSTED, message)
