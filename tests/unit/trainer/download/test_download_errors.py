"""Retry-After as hosts write it, and statuses as reasons."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.download.download_errors import refusal, seconds_to_wait
from trainer.download.failures import Reason


def test_seconds_and_dates_are_understood() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=90)
    assert seconds_to_wait(" 120 ") == 120.0
    assert 60 < (seconds_to_wait(format_datetime(soon, usegmt=True)) or 0.0) <= 90
    assert seconds_to_wait(format_datetime(soon - timedelta(days=1), usegmt=True)) == 0.0


NO_TIMES = [None, "", "soon", "-5", "1e9", "9" * 40, "Wed, 99 Foo 2099 00:00:00 GMT", "١٢"]
NO_TIMES += [f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT", f"Mon, 01 Jan 2026 00:00:00 -{'9' * 20}"]


@pytest.mark.parametrize("header", NO_TIMES)
def test_nonsense_is_as_good_as_nothing(header: str | None) -> None:
    assert seconds_to_wait(header) is None


@given(st.text(max_size=60))
def test_no_header_is_an_error(header: str) -> None:
    seconds = seconds_to_wait(header)
    assert seconds is None or seconds >= 0


@given(st.integers(201, 599))
def test_every_status_has_a_reason(status: int) -> None:
    failure = refusal(status, None)
    assert failure.reason.may_pass == (status >= 500 or status in (408, 425, 429))
    assert str(status) in failure.detail
    if status in (404, 410):
        assert failure.reason is Reason.NOT_FOUND
