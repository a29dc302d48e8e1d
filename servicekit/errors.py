"""The one tree of errors that a service raises on purpose.

Free of transport: `grpc_status` maps the tree to gRPC, the gateway's `problems` maps it to HTTP. Whatever is
not in the tree is a defect: logged whole, answered as INTERNAL or 500, never echoed.
"""


class ServiceError(Exception):
    """Something a caller is told about.

    code: stable, snake case, part of the contract. message: one sentence for the caller, without internals.
    retry_after: seconds after which the same request may succeed; None where waiting does not help.
    """

    default_code = "internal"

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.retry_after = retry_after


class InvalidRequest(ServiceError):
    """What was sent is wrong, and sending it again will not help."""

    default_code = "invalid_request"


class Forbidden(ServiceError):
    """The API key is missing, unknown or revoked."""

    default_code = "forbidden"


class NotFound(ServiceError):
    """What the request names does not exist."""

    default_code = "not_found"


class FailedPrecondition(ServiceError):
    """The request is right, but the state it needs is not there."""

    default_code = "failed_precondition"


class TooLarge(ServiceError):
    """More was sent than a configured limit allows."""

    default_code = "too_large"


class Overloaded(ServiceError):
    """A bounded queue is full."""

    default_code = "overloaded"

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = 1.0) -> None:
        super().__init__(message, code=code, retry_after=retry_after)


class Unavailable(ServiceError):
    """A part that is needed does not answer."""

    default_code = "unavailable"

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = 2.0) -> None:
        super().__init__(message, code=code, retry_after=retry_after)


class UpstreamFailed(ServiceError):
    """A system that is not ours answered wrongly, or not at all."""

    default_code = "upstream_failed"


class DeadlineExceeded(ServiceError):
    """The time that the caller gave is over."""

    default_code = "deadline_exceeded"


class NoSpace(ServiceError):
    """A disk is full, or would be."""

    default_code = "no_space"
