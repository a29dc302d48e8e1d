"""Service errors over gRPC, in both directions.

The status carries Google's rich error model (https://google.aip.dev/193): an ErrorInfo with our code and the error's
class, and a RetryInfo if waiting helps.
"""

from typing import cast

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from servicekit import errors
from servicekit.connection_failure import failure_in
from servicekit.grpc.renewing_channel import DO_NOT_RETRY

DOMAIN = "similis"
CLASS_KEY = "class"

STATUS_OF: dict[type[errors.ServiceError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.TooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.UpstreamFailed: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.NoSpace: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_CLASSES = {kind.__name__: kind for kind in STATUS_OF}

Trailers = tuple[tuple[str, str | bytes], ...]


def status_of(error: errors.ServiceError) -> grpc.StatusCode:
    """Return the status of the error's class, or of its nearest base class that has one."""
    return STATUS_OF.get(_class_of(error), grpc.StatusCode.INTERNAL)


def trailing_metadata(error: errors.ServiceError) -> Trailers:
    """Return the trailers with which the caller restores the error."""
    kind = _class_of(error)
    status = Status(code=status_of(error).value[0], message=error.message)
    info = ErrorInfo(reason=error.code.upper(), domain=DOMAIN, metadata={CLASS_KEY: kind.__name__})
    status.details.add().Pack(info)
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    trailers: Trailers = tuple(rpc_status.to_status(status).trailing_metadata)
    # Channels retry UNAVAILABLE at another replica. A system that failed behind this service fails for every replica.
    return (*trailers, DO_NOT_RETRY) if kind is errors.UpstreamFailed else trailers


def from_rpc_error(error: grpc.aio.AioRpcError, *, upstream: str) -> errors.ServiceError:
    """Return the service error that an upstream answered with.

    A status that the upstream did not choose itself (a broken connection, a defect) becomes Unavailable, named after
    the upstream. Its text is meant for logs; only what it says about TLS is told.
    """
    info, retry_after = _details(error)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"The {upstream} did not respond in time."
        return errors.DeadlineExceeded(message, code=info.reason.lower() or None)
    kind = _CLASSES.get(info.metadata[CLASS_KEY])
    if kind is None and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # gRPC itself refuses a message above the limit of the server.
        return errors.TooLarge(f"The {upstream} does not accept a message of this size.", code="too_large")
    if kind is None:
        return _not_available(error, upstream)
    return kind(error.details() or "", code=info.reason.lower(), retry_after=retry_after)


def _not_available(error: grpc.aio.AioRpcError, upstream: str) -> errors.Unavailable:
    failure = failure_in(error.details() or "") if error.code() is grpc.StatusCode.UNAVAILABLE else None
    if failure is None:
        return errors.Unavailable(f"The {upstream} is not available.", code=f"{upstream}_unavailable")
    if failure.is_tls:
        message = (
            f"The TLS connection to the {upstream} failed: {failure.value}. See the SIMILIS_TLS_ settings of both."
        )
        return errors.Unavailable(message, code=f"{upstream}_tls_failed")
    message = f"The server at SIMILIS_{upstream.upper()}_ADDRESS is not a Similis {upstream}: {failure.value}."
    return errors.Unavailable(message, code=f"{upstream}_unavailable")


def _class_of(error: errors.ServiceError) -> type[errors.ServiceError]:
    return next((kind for kind in type(error).__mro__ if kind in STATUS_OF), errors.ServiceError)


def _details(error: grpc.aio.AioRpcError) -> tuple[ErrorInfo, float | None]:
    """Return our ErrorInfo, empty if there is none, and the seconds to wait."""
    info, retry = ErrorInfo(), RetryInfo()
    try:
        status = rpc_status.from_call(cast("grpc.Call", error)) or Status()
        for detail in status.details:
            detail.Unpack(info)
            detail.Unpack(retry)
    except (ValueError, DecodeError):
        # The details come from a proxy and not from one of our services.
        return ErrorInfo(), None
    if info.domain != DOMAIN:
        return ErrorInfo(), None
    return info, retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None
