"""The table between the error tree and gRPC, in both directions."""

from collections.abc import Iterable
from typing import cast

import grpc

from servicekit import errors

CODE_KEY = "similis-error-code"
RETRY_AFTER_KEY = "similis-retry-after"

STATUS_OF: dict[type[errors.ServiceError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.TooLarge: grpc.StatusCode.OUT_OF_RANGE,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.UpstreamFailed: grpc.StatusCode.ABORTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.NoSpace: grpc.StatusCode.DATA_LOSS,
}
ERROR_OF = {status: kind for kind, status in STATUS_OF.items()}


def status_of(error: errors.ServiceError) -> grpc.StatusCode:
    """The status of the error's class, or of the nearest of its bases that has one."""
    for kind in type(error).__mro__:
        if kind in STATUS_OF:
            return STATUS_OF[kind]
    return grpc.StatusCode.INTERNAL


def trailing_metadata(error: errors.ServiceError) -> tuple[tuple[str, str], ...]:
    """What travels beside the status: the stable code, and the seconds to wait if there are any."""
    pairs = [(CODE_KEY, error.code)]
    if error.retry_after is not None:
        pairs.append((RETRY_AFTER_KEY, str(error.retry_after)))
    return tuple(pairs)


def from_rpc_error(error: grpc.aio.AioRpcError, *, upstream: str) -> errors.ServiceError:
    """The error of the tree that an upstream's status stands for.

    A status that the upstream did not choose itself (a broken connection, a defect) becomes Unavailable,
    named after the upstream; its text is for logs, so it is not carried over.
    """
    trailing = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    metadata = {key: value for key, value in trailing if isinstance(value, str)}
    kind = ERROR_OF.get(error.code())
    code = metadata.get(CODE_KEY)
    if kind is errors.DeadlineExceeded:
        return errors.DeadlineExceeded(f"The {upstream} did not answer in time.", code=code)
    if kind is None or code is None:
        return errors.Unavailable(f"The {upstream} is not available.", code=f"{upstream}_unavailable")
    retry_after = metadata.get(RETRY_AFTER_KEY)
    return kind(error.details() or "", code=code, retry_after=float(retry_after) if retry_after is not None else None)
