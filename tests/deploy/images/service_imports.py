"""What a service's image contains, and what its code imports."""

import importlib.metadata
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.utils import canonicalize_name

from tests.packages import FOLDERS, NAMES, imports

# The processes that run from each service's image, including child processes.
PROCESSES = {
    "gateway": ("gateway.__main__", "gateway.content.worker_main", "standalone.__main__", "trainer.check"),
    "embedder": (
        "embedder.__main__",
        "embedder.workers.__main__",
        "embedder.engines.export",
        "embedder.prefetch",
    ),
    "trainer": ("trainer.__main__", "trainer.learning.__main__", "standalone.__main__"),
}


def modules(distributions: Iterable[str]) -> set[str]:
    """Return the top-level names that can be imported when only these distributions are installed."""
    wanted = set(distributions)
    return {
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if any(canonicalize_name(owner) in wanted for owner in owners)
    }


def imported(processes: Iterable[str]) -> set[str]:
    """Return the top-level names of third-party packages that the processes may import."""
    seen: set[str] = set()
    foreign: set[str] = set()
    waiting = list(processes)
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if name in seen or path is None:
            continue
        seen.add(name)
        for found in imports(path):
            if found.partition(".")[0] in NAMES:
                waiting.append(found)
            else:
                foreign.add(found.partition(".")[0])
    return foreign - sys.stdlib_module_names


def _path(name: str) -> Path | None:
    """Return the file of one of our modules, or None for a name inside a module."""
    top, *rest = name.split(".")
    folders: list[Path] = [folder for folder in FOLDERS if folder.name == top]
    if not folders:
        return None
    package = folders[0].joinpath(*rest)
    for path in (package / "__init__.py", package.with_name(f"{package.name}.py")):
        if path.exists():
            return path
    return None


def plain(requirement: str) -> str:
    """Return a requirement without white space, for comparisons."""
    return re.sub(r"\s", "", requirement)
