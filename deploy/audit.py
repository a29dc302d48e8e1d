"""Look for known vulnerabilities in the exact versions that are tested and put into the images (constraints.txt).

`python deploy/audit.py` asks OSV's database by means of pip-audit. Without a network it warns and succeeds.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from deploy import tools

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "pip-audit"
# Vulnerabilities that do not concern us: the id, and why. Remove an entry when the package has been updated.
EXCEPTIONS: dict[str, str] = {}
TIMEOUT_SECONDS = 10
# What a database that cannot be reached looks like, in words of pip-audit's HTTP client.
UNREACHABLE = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "SSLError")


class Vulnerability(TypedDict):
    """A vulnerability as pip-audit reports it."""

    id: str
    fix_versions: list[str]


class Dependency(TypedDict, total=False):
    """A package as pip-audit reports it. Without `vulns`, it could not be looked up."""

    name: str
    version: str
    vulns: list[Vulnerability]
    skip_reason: str


@dataclass(frozen=True)
class Audit:
    """What was found. unknown: why nothing is known; None: everything was looked up."""

    problems: list[str]
    unknown: str | None = None


def audit(requirements: Path, options: Sequence[str] = ()) -> Audit:
    """Look up the pinned packages in a file. options: for pip-audit. Raises ToolError for anything unexpected."""
    try:
        tools.fetch(PROGRAM)
    except tools.ToolError as error:
        return Audit([], f"pip-audit cannot be installed: {error}".splitlines()[0])
    command = [
        str(tools.TOOLS / PROGRAM / "bin" / "pip-audit"),
        *("--requirement", str(requirements), "--no-deps", "--disable-pip"),
        *("--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off"),
        *("--timeout", str(TIMEOUT_SECONDS), *options),
    ]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    try:
        dependencies: list[Dependency] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        if any(word in done.stderr for word in UNREACHABLE):
            return Audit([], f"the vulnerability database cannot be reached: {last[0]}")
        raise tools.ToolError(f"pip-audit failed: {last[0]}") from None
    return Audit([problem for dependency in dependencies for problem in _problems(dependency)])


def _problems(dependency: Dependency) -> list[str]:
    package = f"{dependency['name']} {dependency.get('version', '')}".strip()
    if "vulns" not in dependency:
        return [f"{package}: {dependency.get('skip_reason', 'not looked up')}"]
    return [
        f"{package}: {found['id']}, {_remedy(found['fix_versions'])}"
        for found in dependency["vulns"]
        if found["id"] not in EXCEPTIONS
    ]


def _remedy(versions: list[str]) -> str:
    return f"fixed in {', '.join(versions)}" if versions else "not fixed yet"


def main(arguments: Sequence[str]) -> int:
    """Print what was found. Return 1 if a package has a known vulnerability."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirements", nargs="?", type=Path, default=ROOT / "constraints.txt")
    options, others = parser.parse_known_args(arguments)
    try:
        found = audit(options.requirements, others)
    except tools.ToolError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if found.unknown is not None:
        sys.stderr.write(f"warning: vulnerabilities were NOT looked for: {found.unknown}\n")
    for problem in found.problems:
        sys.stderr.write(f"{problem}\n")
    if found.problems:
        sys.stderr.write("Update these packages ('make constraints'), or name an exception in deploy/audit.py.\n")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
