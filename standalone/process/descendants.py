"""The processes that descend from a process."""

from collections import defaultdict
from pathlib import Path


def descendants(ancestor: int) -> list[int]:
    """Return the ids of its children, their children and so on, as far as they are alive."""
    children = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        if (parent := _parent(folder)) is not None:
            children[parent].append(int(folder.name))
    found, following = [], [ancestor]
    while following:
        following = [child for process in following for child in children[process]]
        found += following
    return found


def _parent(folder: Path) -> int | None:
    try:
        status = (folder / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of the program comes before, in parentheses. It may contain anything.
    return int(status.rpartition(")")[2].split()[1])
