"""What the image of a service holds, and what its code imports."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT: Mapping[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# The processes that run from each service's image, those that its own processes start included.
PROCESSES = {
    "gateway": ("similis.gateway.__main__", "similis.gateway.content_process", "similis.standalone.__main__"),
    "embedder": (
        "similis.embedder.__main__",
        "similis.embedder.workers.__main__",
        "similis.embedder.engines.export",
        "similis.embedder.prefetch",
    ),
    "trainer": ("similis.trainer.__main__", "similis.trainer.learning.__main__"),
}


def group(name: str) -> list[str]:
    """The requirements of a dependency group and of those that it includes (PEP 735)."""
    found: list[str] = []
    for entry in PYPROJECT["dependency-groups"][name]:  # type: ignore[index]
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
        for found in _imports(path):
            if found.partition(".")[0] == "similis":
                waiting.append(found)
            else:
                strangers.add(found.partition(".")[0])
    return strangers - sys.stdlib_module_names


def _path(name: str) -> Path | None:
    """The file of one of our modules; None for a name inside of one."""
    package = ROOT.joinpath(*name.split("."))
    for path in (package / "__init__.py", package.with_suffix(".py")):
        if path.exists():
            return path
    return None


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def plain(requirement: str) -> str:
    """A requirement without white space, to be compared."""
    return re.sub(r"\s", "", requirement)
