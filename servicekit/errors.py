"""The errors that a service raises for its callers, in one tree.

They are independent of transport: `grpc.status` maps them to gRPC, the gateway's `problems` to HTTP. Any other
exception is a defect: it is logged with its stack and answered as INTERNAL or 500, without its text.
"""


class ServiceError(Exception):
    """An error for the caller.

    code: stable, in snake case, part of the contract. message: one sentence for the caller, without internals.
    retry_after: seconds after which the same request may succeed; None if waiting does not help.
    hint: another sentence for people, for messages that must stay as existing clients know them.
    """

    default_code = "internal"

    def __init__(
        self, message: str, *, code: str | None = None, retry_after: float | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.retry_after = retry_after
        self.hint = hint


class InvalidRequest(ServiceError):
    """The request is wrong, and stays wrong when it is repeated."""

    default_code = "invalid_request"


class Forbidden(ServiceError):
    """The API key is missing or invalid, or does not allow the request."""

    default_code = "forbidden"


class NotFound(ServiceError):
    """The thing that the request names does not exist."""

    default_code = "not_found"


class FailedPrecondition(ServiceError):
    """The request is valid, but not in the present state."""

    default_code = "failed_precondition"


class TooLarge(ServiceError):
    """The request exceeds a configured limit."""

    default_code = "too_large"


class Overloaded(ServiceError):
    """A limit on concurrency or memory is reached."""

    default_code = "overloaded"

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = 1.0) -> None:
        super().__init__(message, code=code, retry_after=retry_after)


class Unavailable(ServiceError):
    """A part of Similis, or one of its stores, does not respond."""

    default_code = "unavailable"

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = 2.0) -> None:
        super().__init__(message, code=code, retry_after=retry_after)


class UpstreamFailed(ServiceError):
    """A foreign system gave a wrong answer or none."""

    default_code = "upstream_failed"


class DeadlineExceeded(ServiceError):
    """The caller's deadline has passed."""

    default_code = "deadline_exceeded"


class NoSpace(ServiceError):
    """A disk is full, or would be."""

    default_code = "no_space"
