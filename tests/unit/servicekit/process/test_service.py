"""The process of a service, from its start to its end."""

import signal
import subprocess
import sys

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
