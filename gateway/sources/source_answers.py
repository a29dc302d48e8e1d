"""A source as clients see it."""

from json import loads

from catalog.sources.sources import NewestReading, Source
from gateway.http.responses import timestamp
from gateway.sources.source_fields import FINETUNE, VIEWS


def described(source: Source | None) -> dict[str, object] | None:
    """Return the JSON of a source; None if there is none."""
    if source is None:
        return None
    settings, newest = source.settings, source.newest
    with_views = next(name for name in VIEWS[settings.type] if name != "none")
    return {
        "type": settings.type.value,
        "url": settings.url,
        "metadata_prefix": settings.metadata_prefix,
        "set": settings.set_spec,
        "from": settings.from_date,
        "views": with_views if settings.views else "none",
        "refresh": settings.refresh and settings.refresh.value,
        "then": FINETUNE if settings.then_finetune else None,
        "last_read": timestamp(source.last_read),
        "next_reading": timestamp(source.next_reading),
        "added": source.added,
        "changed": source.changed,
        "removed": source.removed,
        **_reading(newest),
    }


def _reading(newest: NewestReading | None) -> dict[str, object]:
    active = newest is not None and newest.active
    failed = newest is not None and newest.state == "failed"
    return {
        "state": "never" if newest is None else newest.state,
        "phase": newest.phase if newest is not None and active else None,
        "progress": round(newest.progress, 1) if newest is not None and active else None,
        "counts": _counts(newest) if newest is not None and active else None,
        "paced_by": loads(newest.paced_by) if newest is not None and active and newest.paced_by else [],
        "reading_warnings": [] if newest is None else list(newest.warnings),
        "error": {"code": newest.error_code, "message": newest.error_message}
        if newest is not None and failed
        else None,
    }


def _counts(newest: NewestReading) -> dict[str, int | None] | None:
    return None if newest.done is None else {"done": newest.done, "total": newest.total}
