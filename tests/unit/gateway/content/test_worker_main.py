"""What a content process imports: an upload must not pay for packages that it does not use."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["aiohttp", "asyncpg", "pydantic", "structlog"])
def test_a_content_process_starts_without_large_packages(package: str) -> None:
    code = f"import sys, gateway.content.worker_main; sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
