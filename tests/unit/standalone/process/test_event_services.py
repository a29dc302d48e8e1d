"""Events of a process that runs two services have the name of the one that logged them."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
from servicekit.telemetry.logs import configure_logging, get_logger
configure_logging("gateway", others=("embedder",))
for name in ("gateway.app", "embedder.scheduling.dispatcher", "servicekit.grpc.server", "embedders.app"):
    get_logger(name).info("said", of=name)
"""


def test_an_event_names_the_service_whose_package_logged_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert {event["of"]: event["service"] for event in events} == {
        "gateway.app": "gateway",
        "embedder.scheduling.dispatcher": "embedder",
        "servicekit.grpc.server": "gateway",
        "embedders.app": "gateway",
    }


def test_the_operator_sees_which_service_warns(tmp_path_factory: pytest.TempPathFactory) -> None:
    program = f"""
from pathlib import Path
from servicekit.telemetry.logs import configure_logging
from standalone.process.child_log import ChildLog
configure_logging("similis")
output = ChildLog("gateway", Path({str(tmp_path_factory.mktemp("logs"))!r}))
output.feed(b'{{"event": "worker_start_failed", "level": "error", "service": "embedder"}}\\n')
output.feed(b'{{"event": "upstream_lost", "level": "warning", "service": "gateway"}}\\n')
output.feed(b'{{"event": "unnamed", "level": "warning"}}\\n')
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(event["event"], event["service"]) for event in events] == [
        ("worker_start_failed", "embedder"),
        ("upstream_lost", "gateway"),
        ("unnamed", "gateway"),
    ]
