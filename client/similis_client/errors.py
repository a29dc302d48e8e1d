"""What can go wrong. Every error has a stable `code`; `docs/api.md` lists the codes of the service."""

from collections.abc import Mapping


class SimilisError(Exception):
    """A call that failed.

    code: stable, for programs. detail: for people. status: the HTTP status, or None if the service did not answer.
    request_id: finds the request in the logs of the service.
    """

    def __init__(self, code: str, detail: str, *, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status
        self.request_id = request_id


class ConnectionFailed(SimilisError):
    """The service could not be reached, or it stopped answering. code: `connection_failed` or `timeout`."""


class UnexpectedAnswer(SimilisError):
    """The answer is not one of Similis, such as the page of a proxy. code: `unexpected_answer`."""


class FinetuneFailed(SimilisError):
    """A finetune failed or was cancelled. code: that of `finetuning_error`, or `cancelled`."""


class ApiError(SimilisError):
    """The service refused a request or failed. A refused request changed nothing.

    retry_after: the seconds after which the service wants the request repeated, if it said so.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, detail, status=status, request_id=request_id)
        self.retry_after = retry_after


class InvalidRequest(ApiError):
    """The request is wrong, or does not fit the state of the collection (4xx)."""


class CollectionNotFound(InvalidRequest):
    """The collection does not exist, or no longer."""


class NotFinetuned(InvalidRequest):
    """The collection must be finetuned before it can be searched."""


class TooLarge(InvalidRequest):
    """The image or the CSV is too large (413)."""


class Forbidden(ApiError):
    """The API key is missing or invalid, or may not do this (403)."""


class TemporaryFailure(ApiError):
    """A part of the service, or HeidICON, is down or too slow (502, 503, 504). The same request may succeed later."""


class Overloaded(TemporaryFailure):
    """The service has too much to do at the moment (429)."""


class ServerFailure(ApiError):
    """The service has a defect, or no space on its disk (other 5xx)."""


_OF_CODE: Mapping[str, type[ApiError]] = {
    "collection_not_found": CollectionNotFound,
    "not_finetuned": NotFinetuned,
    "backbone_changed": NotFinetuned,
}
_OF_STATUS: Mapping[int, type[ApiError]] = {
    403: Forbidden,
    413: TooLarge,
    429: Overloaded,
    502: TemporaryFailure,
    503: TemporaryFailure,
    504: TemporaryFailure,
}


def error_class(status: int, code: str) -> type[ApiError]:
    """Return the class of the error with an HTTP status and a code."""
    default = InvalidRequest if status < 500 else ServerFailure
    return _OF_CODE.get(code) or _OF_STATUS.get(status, default)
