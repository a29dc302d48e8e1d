"""What the checks of the chart run must be there: nothing is skipped for want of a program."""

import pytest

from tests.deploy.chart import MATRIX, TOOLS, Rendered, rendered

NEEDED = ("helm/helm", "promtool/promtool", "schemas/.version", "types/.version", "checkov/bin/checkov")


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    missing = [name for name in NEEDED if not (TOOLS / name).exists()]
    if missing:
        pytest.fail(f"{', '.join(missing)} not in build/tools: run 'make tools'")


@pytest.fixture(params=MATRIX)
def release(request: pytest.FixtureRequest) -> Rendered:
    """The documents of each row of the matrix in turn."""
    return rendered(request.param)
