"""The programs that the chart's tests run must be installed: no test is skipped because one is missing."""

import os

import pytest

from tests.deploy.chart import MATRIX, TOOLS, Rendered, rendered

NEEDED = ("helm/helm", "promtool/promtool", "schemas/.version", "types/.version", "checkov/bin/checkov")
# `make kube-check` sets this. No other run may touch the cluster of whoever runs the tests.
collect_ignore = [] if os.environ.get("SIMILIS_KUBE_CHECK") else ["cluster"]


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    missing = [name for name in NEEDED if not (TOOLS / name).exists()]
    if missing:
        pytest.fail(f"{', '.join(missing)} not found in build/tools: run 'make tools'")


@pytest.fixture(params=MATRIX)
def release(request: pytest.FixtureRequest) -> Rendered:
    """The documents of each set of values in turn."""
    return rendered(request.param)
