"""What a message says about a row with another number of columns, and what has probably happened."""

import re
from collections.abc import Sequence

from catalog.content.cell_text import URL
from gateway.content.csv_dialect import COLUMNS, DELIMITERS

# A URL, then what probably stands in place of a delimiter, then another text. A URL may contain the second one.
BETWEEN = re.compile(r"https?://[^\s|]+?(\s*\|\s*|[ ]+(?=https?://)).+", re.IGNORECASE)
ALLOWED = "Separate the columns by a comma, a semicolon or a tab"


def wrong_columns(columns: Sequence[str]) -> str:
    """Return the problem of a row that does not have two columns. columns: its cells, without space around them."""
    advice = _about_one(columns[0]) if len(columns) == 1 else _about_many(columns)
    problem = f"expected two columns (image URL, repository URL), found {len(columns)}"
    return f"{problem}. {advice}" if advice else problem


def _about_one(cell: str) -> str:
    first = cell.partition("\n")[0]
    if URL.match(first) and any(URL.match(part.strip(' "')) for mark in DELIMITERS for part in first.split(mark)[1:]):
        return "Either the whole line is in quotes, or its delimiter is not that of the file"
    between = BETWEEN.fullmatch(first)
    if between is not None:
        return f"{ALLOWED}, not by {'a space' if between[1].isspace() else f'“{between[1].strip()}”'}"
    return f"{ALLOWED}. The second one may be empty, but not missing" if URL.fullmatch(first) else ""


def _about_many(columns: Sequence[str]) -> str:
    if not any(columns[COLUMNS:]):
        return "The columns after the second are empty: remove the delimiters at the ends of the lines"
    if columns[0].lower().startswith("http"):
        return "Quote a field that contains the delimiter, and remove other columns"
    return "Remove other columns"
