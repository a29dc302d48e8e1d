"""The closed list of reasons, and how responses and errors map to it."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.download.failures import (
    PASSING_SOON,
    PERMANENT,
    TRANSIENT,
    Reason,
    failure_of_error,
    failure_of_status,
    seconds_to_wait,
)

OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"
# A row of the table of reasons: some reasons, and whether they are transient.
ROW = re.compile(r"^ *\| ((?:`[a-z_]+`(?:, )?)+) \| (yes|no) \|", re.MULTILINE)


def test_operations_md_documents_each_reason_and_whether_it_is_transient() -> None:
    rows = ROW.findall(OPERATIONS.read_text(encoding="utf-8"))
    documented = {reason: answer == "yes" for reasons, answer in rows for reason in re.findall(r"`([a-z_]+)`", reasons)}
    assert {reason.value: reason.is_transient for reason in Reason} == documented


def test_the_transient_reasons_are_those_that_another_try_may_fix() -> None:
    assert {reason.value for reason in TRANSIENT} == {
        "dns_error",
        "connection_error",
        "timeout",
        "host_unavailable",
        "rate_limited",
        "server_error",
        "tls_error",
        "web_page",
    }
    assert {reason.value for reason in TRANSIENT - PASSING_SOON} == {"host_unavailable", "tls_error", "web_page"}


def test_only_what_an_image_or_its_row_is_to_blame_for_is_kept_for_later_finetunes() -> None:
    assert {reason.value for reason in PERMANENT} == {
        "invalid_url",
        "not_found",
        "forbidden",
        "too_large",
        "not_an_image",
        "decode_error",
        "image_too_slow",
        "image_crashed_decoder",
        "image_too_large",
    }
    assert not PERMANENT & TRANSIENT


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=90)
    assert seconds_to_wait(" 120 ") == 120.0
    assert 60 < (seconds_to_wait(format_datetime(soon, usegmt=True)) or 0.0) <= 90
    assert seconds_to_wait(format_datetime(soon - timedelta(days=1), usegmt=True)) == 0.0


@pytest.mark.parametrize(
    ("header", "seconds"), [("1.5", 1.5), ("120s", 120.0), ("5 seconds", 5.0), ("3, 5", 3.0), ("0", 0.0)]
)
def test_a_retry_after_that_is_not_quite_right_is_read(header: str, seconds: float) -> None:
    assert seconds_to_wait(header) == seconds


def test_a_retry_after_can_be_a_moment_in_other_forms() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=90)
    for header in (str(int(soon.timestamp())), soon.isoformat(), soon.strftime("%Y-%m-%dT%H:%M:%SZ"), soon.ctime()):
        assert 60 < (seconds_to_wait(header) or 0.0) <= 90
    assert seconds_to_wait("1000000000") == 0.0


INVALID = [None, "", "soon", "-5", "1e9", "9" * 40, "Wed, 99 Foo 2099 00:00:00 GMT", "١٢"]
INVALID += [f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT", f"Mon, 01 Jan 2026 00:00:00 -{'9' * 20}"]


@pytest.mark.parametrize("header", INVALID)
def test_an_invalid_retry_after_is_ignored(header: str | None) -> None:
    assert seconds_to_wait(header) is None


@given(st.text(max_size=60))
def test_no_retry_after_header_raises_an_error(header: str) -> None:
    seconds = seconds_to_wait(header)
    assert seconds is None or seconds >= 0


@given(st.integers(201, 599))
def test_each_status_has_a_reason(status: int) -> None:
    failure = failure_of_status(status, None)
    assert failure.reason.is_transient == (status >= 500 or status in (202, 408, 425, 429))
    assert str(status) in failure.detail
    if status in (404, 410):
        assert failure.reason is Reason.NOT_FOUND


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), Reason.TIMEOUT),
        (aiohttp.ServerTimeoutError(), Reason.TIMEOUT),
        (aiohttp.ServerDisconnectedError(), Reason.CONNECTION_ERROR),
        (aiohttp.ClientPayloadError(), Reason.CONNECTION_ERROR),
        (ConnectionResetError(), Reason.CONNECTION_ERROR),
        (aiohttp.InvalidURL("http://"), Reason.INVALID_URL),
        (ValueError("secret"), Reason.INVALID_URL),
        (RuntimeError("secret"), Reason.CONNECTION_ERROR),
    ],
)
def test_each_error_of_the_client_has_a_reason_and_a_sentence_for_people(error: Exception, reason: Reason) -> None:
    failure = failure_of_error(error)
    assert failure.reason is reason
    assert re.fullmatch(r"[A-Z][^.]+\.", failure.detail)
    assert "secret" not in failure.detail
