"""`python -m similis.gateway`: serves until SIGTERM or SIGINT."""

from similis.gateway.app import gateway
from similis.gateway.config import GatewaySettings
from similis.servicekit.process import end_process, run_service


def main() -> int:
    """Runs the gateway and returns the exit status of the process."""
    return run_service("gateway", GatewaySettings, gateway)


if __name__ == "__main__":
    end_process(main())
