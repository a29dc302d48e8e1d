"""The operators' handbook knows what the services say."""

import re
from pathlib import Path

import pytest

from similis.trainer.failure import Reason

ROOT = Path(__file__).parents[2]
HANDBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
# What can end a job: errors of the trainer's own, and of what it reads and writes.
SOURCES = [*(ROOT / "similis" / "trainer").glob("*.py")] + [
    ROOT / "similis" / "catalog" / name for name in ("database.py", "generations.py", "vectors.py")
]


def rows() -> dict[str, list[str]]:
    """Of each code in the first column of a table: the other columns."""
    found: dict[str, list[str]] = {}
    for line in HANDBOOK.splitlines():
        if line.lstrip().startswith("| `"):
            first, *others = [cell.strip() for cell in line.strip().strip("|").split("|")]
            found |= dict.fromkeys(re.findall(r"`(\w+)`", first), others)
    return found


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_each_reason_why_an_image_failed_is_explained(reason: Reason) -> None:
    assert rows()[reason.value][0] == ("yes" if reason.may_pass else "no")


def test_each_error_that_ends_a_finetune_is_explained() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    codes = set(re.findall(r'code ?= ?"(\w+)"', text))
    assert len(codes) > 7
    assert codes - set(rows()) == set()
