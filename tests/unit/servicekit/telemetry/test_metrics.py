"""The metrics endpoint."""

import pytest

from servicekit.process.service import StartupError
from servicekit.telemetry.metrics import metrics_endpoint, new_registry


async def test_without_a_port_nothing_is_served() -> None:
    async with metrics_endpoint(new_registry("test"), "127.0.0.1", None) as port:
        assert port is None


async def test_a_port_in_use_is_a_startup_error() -> None:
    registry = new_registry("test")
    async with metrics_endpoint(registry, "127.0.0.1", 0) as port:
        with pytest.raises(StartupError, match=f"cannot show metrics on port {port}"):
            async with metrics_endpoint(registry, "127.0.0.1", port):
                pass
