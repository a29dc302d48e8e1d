"""The systemd unit of the handbook, and how its command is run without systemd."""

import pwd
import socket
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import pytest

from deploy.tools import TOOLS
from tests.e2e.machine.confine import Confinement, can_mount
from tests.e2e.machine.handbook import ROOT, block

PROGRAMS, DATA = "/opt/similis/.venv/bin/", "/srv/similis"
# A user that every machine has. Postgres refuses to run as one without a name.
USER = pwd.getpwnam("nobody").pw_uid
FAMILIES = {"AF_UNIX": socket.AF_UNIX, "AF_INET": socket.AF_INET, "AF_INET6": socket.AF_INET6}


class Unit:
    """The unit, with the paths of this checkout and of a data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data
        here = f"{Path(sys.executable).parent}/"
        self.text = block("[Service]", "ExecStart=").replace(PROGRAMS, here).replace(DATA, str(data))

    def values(self, name: str) -> list[str]:
        """Return the values of a setting, in order."""
        lines = (line.partition("=") for line in self.text.splitlines() if not line.startswith("#"))
        return [value for found, _, value in lines if found == name]

    def value(self, name: str) -> str:
        """Return the value of a setting that is there once."""
        (found,) = self.values(name)
        return found

    @property
    def command(self) -> list[str]:
        """What it starts."""
        return self.value("ExecStart").split()

    @property
    def environment(self) -> dict[str, str]:
        """All that its service has in its environment, besides what systemd sets itself."""
        given = dict(value.split("=", 1) for value in self.values("Environment"))
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8", **given}

    @cached_property
    def confinement(self) -> Confinement:
        """What its service may do."""
        assert self.value("SystemCallErrorNumber") == "EPERM"
        mounts = can_mount()
        return Confinement(
            user=USER if mounts else None,
            mounts=mounts,
            writable=self.value("ReadWritePaths").split(),
            # What an operator would install where every user may read it.
            visible=[str(ROOT), sys.base_prefix],
            open_files=int(self.value("LimitNOFILE")),
            umask=int(self.value("UMask"), 8),
            system_calls=system_calls(self.value("SystemCallFilter")),
            families=[FAMILIES[name] for name in self.value("RestrictAddressFamilies").split()],
        )


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run systemd-analyze."""
    program = TOOLS / "systemd" / "systemd-analyze"
    if not program.exists():
        pytest.fail(f"{program} not found: run 'make tools'")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def system_calls(group: str) -> list[str]:
    """Return the system calls in a group of systemd, such as `@system-service`."""
    lines = analyze("syscall-filter", group).stdout.splitlines()[1:]
    names = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    assert names, f"systemd has no group {group}"
    return [call for name in names for call in (system_calls(name) if name.startswith("@") else [name])]
