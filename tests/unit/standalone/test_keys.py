"""When a key expires, as the command line reads it."""

from datetime import UTC, datetime, timedelta

import pytest

from standalone.cli import run
from standalone.keys import parse_expiry


def test_a_date_lasts_until_its_end_and_a_time_is_exact() -> None:
    assert parse_expiry("2199-12-31") == datetime(2200, 1, 1, tzinfo=UTC)
    assert parse_expiry("2199-12-31T18:00") == datetime(2199, 12, 31, 18, tzinfo=UTC)
    assert parse_expiry("2199-12-31T18:00+02:00") == datetime(2199, 12, 31, 16, tzinfo=UTC)
    soon = parse_expiry("90d") - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < soon <= timedelta(days=90)


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--expires", "tomorrow", "is neither a number of days (90d) nor a date"),
        ("--expires", "2020-01-01", "is in the past"),
        ("--expires", "0d", "is neither a number of days (90d) nor a date"),
        ("--expires", "9999-12-31", "date value out of range"),
        ("--collection", "0", "is not the id of a collection"),
        ("--collection", "coins", "is not the id of a collection"),
        ("--scope", "root", "invalid choice"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(
    option: str, value: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["keys", "create", "--name", "n", option, value])
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err
