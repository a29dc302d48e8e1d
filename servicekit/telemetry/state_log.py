"""Logs of what is tried again and again: a failure is logged once, until it changes or ends."""

import structlog

from servicekit.errors import ServiceError


class StateLog:
    """The log of one thing that works or fails."""

    def __init__(
        self, log: structlog.typing.FilteringBoundLogger, failed: str, works: str | None = None, **fields: object
    ) -> None:
        """failed: the event of a failure. works: the event of its end; None: it is not logged. fields: of both."""
        self._log = log
        self._failed = failed
        self._works = works
        self._fields = fields
        self._failure: object = None

    def failure(self, error: BaseException) -> None:
        """Log an error unless it is the same as the last one. Only errors that are not service errors get a stack."""
        failure = (error.code, error.message) if isinstance(error, ServiceError) else repr(error)
        if failure == self._failure:
            return
        self._failure = failure
        if isinstance(error, ServiceError):
            cause = None if error.__cause__ is None else repr(error.__cause__)[:500]
            self._log.warning(self._failed, **self._fields, code=error.code, reason=error.message, cause=cause)
        else:
            self._log.error(self._failed, **self._fields, exc_info=error)

    def success(self) -> None:
        """Log the end of a failure, if there was one."""
        if self._failure is not None and self._works is not None:
            self._log.info(self._works, **self._fields)
        self._failure = None
