"""The packages in the image of a service: its dependency group in pyproject.toml, with what that depends on."""

import importlib.metadata
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT: dict[str, Any] = tomllib.loads(
    (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
)
SERVICES = ("gateway", "embedder", "trainer")


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
