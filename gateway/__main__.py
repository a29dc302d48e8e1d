"""`python -m gateway`: serve until SIGTERM or SIGINT."""

from gateway.app import gateway
from gateway.config import GatewaySettings
from servicekit.process.service import end_process, run_service


def main() -> int:
    """Run the gateway, and return the exit status of the process."""
    return run_service("gateway", GatewaySettings, gateway)


if __name__ == "__main__":
    end_process(main())
