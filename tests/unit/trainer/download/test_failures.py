"""The closed list of reasons."""

import re
from pathlib import Path

from trainer.download.failures import LASTING, MAY_PASS, Reason

OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"
# A row of the table of reasons: some of them, and whether they may pass.
ROW = re.compile(r"^ *\| ((?:`[a-z_]+`(?:, )?)+) \| (yes|no) \|", re.MULTILINE)


def test_people_are_told_what_each_reason_means_and_whether_it_may_pass() -> None:
    rows = ROW.findall(OPERATIONS.read_text(encoding="utf-8"))
    told = {reason: passes == "yes" for reasons, passes in rows for reason in re.findall(r"`([a-z_]+)`", reasons)}
    assert {reason.value: reason.may_pass for reason in Reason} == told


def test_what_may_pass_and_what_lies_with_us_is_tried_again() -> None:
    assert not LASTING & MAY_PASS
    assert frozenset(Reason) - LASTING - MAY_PASS == {Reason.EMBEDDING_FAILED, Reason.BLOCKED_ADDRESS}
