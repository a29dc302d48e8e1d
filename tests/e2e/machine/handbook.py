"""The files and commands that the operators' handbook shows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
HANDBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    """Return the code blocks of the handbook, without their fences."""
    return [
        re.sub(r"^   ", "", text, flags=re.MULTILINE) if indentation else text
        for indentation, text in re.findall(r"^( *)```\w+\n(.*?)^ *```", HANDBOOK, re.DOTALL | re.MULTILINE)
    ]


def block(*words: str) -> str:
    """Return the one code block that contains all of these words."""
    (found,) = (text for text in blocks() if all(word in text for word in words))
    return found
