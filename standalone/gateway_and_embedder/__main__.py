"""`python -m standalone.gateway_and_embedder`: serve until SIGTERM or SIGINT, as a child of `similis up`."""

import argparse
from contextlib import AbstractAsyncContextManager

from servicekit.process.service import end_process, run_service
from servicekit.settings import load_settings, quiet_grpc, single_threaded_numpy


def main() -> int:
    """Run both services in this process, and return its exit status."""
    # Before gRPC and numpy are imported.
    quiet_grpc()
    single_threaded_numpy()
    from embedder.config import EmbedderSettings
    from gateway.config import GatewaySettings
    from standalone.gateway_and_embedder.app import gateway_and_embedder

    parser = argparse.ArgumentParser()
    parser.add_argument("--embedder-metrics", help="`unix:PATH` of the socket that serves the embedder's metrics")
    metrics = parser.parse_args().embedder_metrics

    def build(settings: GatewaySettings) -> AbstractAsyncContextManager[object]:
        # The gateway's own metrics are at the address in the settings, which cannot be that of both.
        address = {"metrics_host": metrics or "", "metrics_port": None if metrics is None else 0}
        return gateway_and_embedder(settings, load_settings(EmbedderSettings).model_copy(update=address))

    return run_service("gateway", GatewaySettings, build, others=("embedder",))


if __name__ == "__main__":
    end_process(main())
