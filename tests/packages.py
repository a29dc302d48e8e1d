"""The packages of this repository, and their modules."""

import ast
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# The import packages that the wheels hold, the generated code among them as `similis`.
FOLDERS = [ROOT / folder for folder in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
# The client is a distribution of its own.
FOLDERS += [ROOT / "client" / "similis_client", ROOT / "client" / "similis_cli"]
NAMES = frozenset(folder.name for folder in FOLDERS)


@cache
def modules() -> tuple[Path, ...]:
    """Return the files of all our modules except the generated ones, in order."""
    found = [path for folder in FOLDERS for path in folder.rglob("*.py")]
    return tuple(sorted(path for path in found if "_pb2" not in path.name))


def module_name(path: Path) -> str:
    """Return the dotted name of the module in a file. Raises ValueError if it is not in one of our packages."""
    for folder in FOLDERS:
        if path.is_relative_to(folder):
            return ".".join(path.relative_to(folder.parent).with_suffix("").parts)
    raise ValueError(f"{path} is in none of our packages")


def package_of(path: Path) -> str:
    """Return the top-level package that a file belongs to."""
    return module_name(path).partition(".")[0]


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a module. Callers share it, so do not change it."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """Return the full names of the modules that a file imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)
