"""Structured logs on standard error: JSON lines for machines, coloured text for a terminal."""

import logging
import sys
from typing import Literal

import structlog

from servicekit.telemetry.repetition import Repetition, RepetitionFilter
from servicekit.telemetry.tracing import trace_ids

LogFormat = Literal["json", "console"]
# The parent of all our loggers, so that libraries can have a level of their own.
ROOT = "similis"


def configure_logging(service: str, *, level: str = "info", log_format: LogFormat = "json") -> None:
    """Set up logging for this process. Libraries log in the same format, but only warnings and errors.

    Raises ValueError for an unknown level.
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
    structlog.configure(
        processors=[repetition.processor, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
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


def _add_trace_ids(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.update(trace_ids())
    return event


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of a module, whose `__name__` is `name`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(f"{ROOT}.{name}")
    return logger
