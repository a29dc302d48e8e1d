"""A failure that repeats itself is logged once."""

import pytest
from structlog.testing import capture_logs

from servicekit.errors import Unavailable
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.state_log import StateLog


def test_a_state_is_logged_when_it_changes() -> None:
    with capture_logs() as events:
        state = StateLog(get_logger("test"), "lost", "back", upstream="qdrant")
        state.success()
        for code in ("qdrant_unavailable", "qdrant_unavailable", "qdrant_key_refused"):
            state.failure(Unavailable("What happened.", code=code))
        state.success()
        state.success()
        state.failure(Unavailable("What happened.", code="qdrant_key_refused"))
    assert [(event["event"], event.get("code")) for event in events] == [
        ("lost", "qdrant_unavailable"),
        ("lost", "qdrant_key_refused"),
        ("back", None),
        ("lost", "qdrant_key_refused"),
    ]
    assert {event["upstream"] for event in events} == {"qdrant"}
    assert not any("exc_info" in event for event in events)


@pytest.mark.parametrize("error", [RuntimeError("a defect"), TimeoutError()])
def test_only_an_unexpected_error_is_logged_with_its_stack_and_also_once(error: Exception) -> None:
    with capture_logs() as events:
        state = StateLog(get_logger("test"), "lost")
        for _ in range(3):
            state.failure(error)
        state.success()
    (event,) = events
    assert event["exc_info"] is error
