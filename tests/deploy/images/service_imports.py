"""What the image of a service holds, and what its code imports."""

import importlib.metadata
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packages import FOLDERS, NAMES, PYPROJECT, imports

# The processes that run from each service's image, those that its own processes start included.
PROCESSES = {
    "gateway": ("gateway.__main__", "gateway.content.worker_main", "standalone.__main__"),
    "embedder": (
        "embedder.__main__",
        "embedder.workers.__main__",
        "embedder.engines.export",
        "embedder.prefetch",
    ),
    "trainer": ("trainer.__main__", "trainer.learning.__main__"),
}


def group(name: str) -> list[str]:
    """The requirements of a dependency group and of those that it includes (PEP 735)."""
    found: list[str] = []
    for entry in PYPROJECT["dependency-groups"][name]:
        found += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return found


def installed(service: str) -> set[str]:
    """The distributions that come with a service's group, those that they need themselves included."""
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
    """The top-level names that can be imported when these distributions are installed, and no others."""
    wanted = set(distributions)
    return {
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if any(canonicalize_name(owner) in wanted for owner in owners)
    }


def imported(processes: Iterable[str]) -> set[str]:
    """The top-level names of what is not ours and not Python's, in all modules that the processes may load."""
    seen: set[str] = set()
    strangers: set[str] = set()
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
                strangers.add(found.partition(".")[0])
    return strangers - sys.stdlib_module_names


def _path(name: str) -> Path | None:
    """The file of one of our modules; None for a name inside of one."""
    top, *rest = name.split(".")
    folders = [folder for folder in FOLDERS if folder.name == top]
    if not folders:
        return None
    package = folders[0].joinpath(*rest)
    for path in (package / "__init__.py", package.with_name(f"{package.name}.py")):
        if path.exists():
            return path
    return None


def plain(requirement: str) -> str:
    """A requirement without white space, to be compared."""
    return re.sub(r"\s", "", requirement)
