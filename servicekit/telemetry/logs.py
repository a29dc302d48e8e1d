"""Structured logs on standard error: JSON lines for machines, coloured text for a terminal."""

import logging
import sys
from collections.abc import Collection
from typing import Literal

import structlog

from servicekit.telemetry.repetition import Repetition, RepetitionFilter
from servicekit.telemetry.tracing import trace_ids

LogFormat = Literal["json", "console"]
# The parent of all our loggers, so that libraries can have a level of their own.
ROOT = "similis"


def configure_logging(
    service: str, *, level: str = "info", log_format: LogFormat = "json", others: Collection[str] = ()
) -> None:
    """Set up logging for this process. Libraries log in the same format, but only warnings and errors.

    others: further services in this process, by the packages whose events have their names. Raises ValueError for an
    unknown level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"unknown log level {level!r}. Set SIMILIS_LOG_LEVEL to debug, info, warning or error")
    repetition = Repetition()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace_ids,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="time")]
    )
    named: list[structlog.typing.Processor] = [_ServiceNames(others)] if others else []
    structlog.configure(
        processors=[repetition.processor, *shared, *named, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    handler.addFilter(RepetitionFilter(repetition, ROOT))
    repetition.reports_to(lambda lines: get_logger(__name__).warning("log_lines_left_out", lines=lines))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(number, logging.WARNING))
    logging.getLogger(ROOT).setLevel(number)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service)


class _ServiceNames:
    """Names the service of an event by the package that logs it."""

    def __init__(self, packages: Collection[str]) -> None:
        self._packages = packages

    def __call__(self, logger: logging.Logger, _: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        package = logger.name.removeprefix(f"{ROOT}.").partition(".")[0]
        if package in self._packages:
            event["service"] = package
        return event


def _add_trace_ids(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.update(trace_ids())
    return event


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of a module, whose `__name__` is `name`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(f"{ROOT}.{name}")
    return logger
