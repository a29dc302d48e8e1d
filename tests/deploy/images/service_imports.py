"""What a service's image contains, and what its code imports."""

import importlib.metadata
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packages import FOLDERS, NAMES, PYPROJECT, imports

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


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group, including those of the groups that it includes (PEP 735)."""
    found: list[str] = []
    for entry in PYPROJECT["dependency-groups"][name]:
        found += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return found


def installed(service: str) -> set[str]:
    """Return the distributions that a service's group installs, including their dependencies."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in group(service)]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found.add(name)
        for text in importlib.metadata.requires(name) or ():
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return found


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
