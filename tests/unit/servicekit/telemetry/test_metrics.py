"""The metrics endpoint."""

from pathlib import Path

import pytest

from servicekit.process.service import StartupError
from servicekit.telemetry.metrics import (
    free_bytes,
    free_bytes_within,
    metrics_endpoint,
    new_registry,
    show_free_disk,
)


async def test_without_a_port_nothing_is_served() -> None:
    async with metrics_endpoint(new_registry("test"), "127.0.0.1", None) as port:
        assert port is None


async def test_a_port_in_use_is_a_startup_error() -> None:
    registry = new_registry("test")
    async with metrics_endpoint(registry, "127.0.0.1", 0) as port:
        with pytest.raises(StartupError, match=f"cannot show metrics on port {port}"):
            async with metrics_endpoint(registry, "127.0.0.1", port):
                pass


def test_free_space_on_a_limited_volume_is_what_the_limit_leaves(tmp_path: Path) -> None:
    limit = 1 << 20
    assert free_bytes_within(tmp_path, limit) == limit
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x" * 40_000)
    registry = new_registry("test")
    show_free_disk(registry, "spool", tmp_path, limit)
    free = registry.get_sample_value("similis_disk_free_bytes", {"volume": "spool"})
    assert free is not None
    assert limit - 80_000 <= free <= limit - 40_000
    (tmp_path / "large").write_bytes(b"x" * limit)
    assert free_bytes_within(tmp_path, limit) == 0


def test_a_volume_never_has_more_free_space_than_its_disk(tmp_path: Path) -> None:
    assert free_bytes_within(tmp_path, 1 << 62) <= free_bytes(tmp_path)
