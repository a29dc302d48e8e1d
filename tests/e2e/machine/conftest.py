"""Similis as the handbook installs it on one machine: started as its systemd unit says, behind nginx."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.image_server import image_server
from tests.e2e.machine.nginx import Site, running_nginx
from tests.e2e.machine.unit import USER, Unit
from tests.e2e.running_instance import RunningInstance, data_with_shared_models
from tests.integration.embedder_process import MODEL_CACHE
from tests.integration.gateway.indexing import picture

# Too few to learn from, which would take a minute.
IMAGES = 8
# What a test needs besides the unit: little memory, and images on this machine.
OPTIONS, SETTINGS = ("--port", "0", "--allow-private-addresses"), {"SIMILIS_WORKERS": "1"}


@dataclass(frozen=True)
class Machine:
    """A machine with a running unit. images: the URLs of images that it can download."""

    unit: Unit
    instance: RunningInstance
    images: list[str]

    @property
    def key(self) -> str:
        """An admin key."""
        return (self.unit.data / "admin-key").read_text(encoding="ascii").strip()

    @property
    def gateway(self) -> str:
        """Host and port of the API."""
        return self.instance.address.removeprefix("http://")


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    unit = Unit(_data_directory(tmp_path_factory.mktemp("machine") / "similis"))
    with image_server({f"{number}.jpg": picture(number) for number in range(IMAGES)}) as host:
        instance = start(unit)
        try:
            yield Machine(unit, instance, [f"{host}{number}.jpg" for number in range(IMAGES)])
        finally:
            instance.stop()


@pytest.fixture(scope="session")
def site(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_nginx(tmp_path_factory.mktemp("nginx") / "root", machine.gateway) as site:
        yield site


@pytest.fixture(scope="session")
def site_below_a_path(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_nginx(tmp_path_factory.mktemp("nginx") / "path", machine.gateway, below_a_path=True) as site:
        yield site


def start(unit: Unit) -> RunningInstance:
    """Start what the unit starts and wait until it is ready."""
    began = time.monotonic()
    log = unit.data.parent / f"{unit.data.name}.stderr"
    with log.open("a") as errors:
        process = subprocess.Popen(
            [*unit.confinement.command(), *unit.command, *OPTIONS],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**unit.environment, **SETTINGS},
        )
    assert process.stdout is not None
    word, _, address = process.stdout.readline().strip().partition(" ")
    if word != "ready":
        process.kill()
        process.wait()
        process.stdout.close()
        raise AssertionError(log.read_text(encoding="utf-8"))
    return RunningInstance(process, unit.data, address, time.monotonic() - began)


def _data_directory(root: Path) -> Path:
    """Create a data directory of the unit's user. Its models were converted by other tests, if these ran before."""
    data = data_with_shared_models(root)
    (data / "models").unlink()
    shutil.copytree(MODEL_CACHE, data / "models")
    if os.geteuid() == 0:
        for path in (data, *data.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)
    return data
