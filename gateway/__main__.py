"""`python -m gateway`: serve until SIGTERM or SIGINT. `python -m gateway check`: try everything that it needs."""

import sys

from gateway.config import GatewaySettings
from servicekit.check.command import run_check
from servicekit.process.service import end_process, run_service
from servicekit.settings import quiet_grpc, single_threaded_numpy


def main() -> int:
    """Run the gateway, and return the exit status of the process."""
    # Before gRPC and numpy are imported. Each of the two starts sooner without the other.
    quiet_grpc()
    single_threaded_numpy()
    if sys.argv[1:2] == ["check"]:
        from gateway.check import checks

        return run_check("gateway", GatewaySettings, checks, sys.argv[2:])
    from gateway.app import gateway

    return run_service("gateway", GatewaySettings, gateway)


if __name__ == "__main__":
    end_process(main())
