"""The process of a service, from its start to its end."""

import os
import signal
import subprocess
import sys

from servicekit.process.service import EXIT_CONFIG

SERVICE = """
import asyncio
import time
from contextlib import asynccontextmanager

from servicekit.process.service import end_process, run_service
from servicekit.settings import ServiceSettings


@asynccontextmanager
async def service(settings):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
    yield


end_process(run_service("test", ServiceSettings, service))
"""


def test_a_blocked_thread_does_not_delay_the_end_of_the_process() -> None:
    """A DNS lookup, for example, cannot be cancelled."""
    with subprocess.Popen([sys.executable, "-c", SERVICE], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert any("service_started" in line for line in process.stderr)
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0
            assert "service_stopped" in process.stderr.read()
        finally:
            process.kill()


def test_tracing_without_its_packages_is_a_wrong_setting() -> None:
    """The message used to name a package that no index has."""
    missing = "import sys\nsys.modules['servicekit.telemetry.trace_export'] = None\n"
    environment = {**os.environ, "SIMILIS_TRACING": "true"}
    command = [sys.executable, "-c", missing + SERVICE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == EXIT_CONFIG
    assert done.stderr.endswith("Run in the checkout: pip install -e '.[tracing]'\n")
