"""`python -m gateway`: serve until SIGTERM or SIGINT. `python -m gateway check`: try everything that it needs."""

import sys

from gateway.check import checks
from gateway.config import GatewaySettings
from servicekit.check.command import run_check
from servicekit.process.service import end_process, run_service


def main() -> int:
    """Run the gateway, and return the exit status of the process."""
    if sys.argv[1:2] == ["check"]:
        return run_check("gateway", GatewaySettings, checks, sys.argv[2:])
    # The check does not need it, and starts sooner without.
    from gateway.app import gateway

    return run_service("gateway", GatewaySettings, gateway)


if __name__ == "__main__":
    end_process(main())
