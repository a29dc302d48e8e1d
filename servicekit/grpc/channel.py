"""Channels to upstreams, with load balancing, health checks and retries of idempotent calls.

A process opens one channel for each upstream.
"""

import json
from collections.abc import Sequence

import grpc

from servicekit.grpc.server import MAX_MESSAGE_BYTES
from servicekit.grpc.tls import CertificateFiles, Certificates, channel_credentials
from servicekit.grpc.tls_channel import RenewingChannel
from servicekit.request_context import REQUEST_ID_KEY, request_id
from servicekit.settings import TlsFiles

UNLIMITED = -1


def open_channel(
    target: str, *, idempotent: Sequence[tuple[str, str]] = (), tls: TlsFiles | None = None
) -> grpc.aio.Channel:
    """Open a channel to `target`. The caller closes it.

    target: "dns:///embedder:9001" for all addresses of a name, "ipv4:10.0.0.1:9001,10.0.0.2:9001" for several
    addresses, "127.0.0.1:9001" or "unix:/run/embedder.sock" for one. Calls go round-robin to the addresses whose health
    service reports SERVING. idempotent: the (service, method) pairs that are retried when the upstream answers
    UNAVAILABLE. tls: the files for mutual TLS; None for plain text.
    Raises StartupError when the TLS files cannot be used.
    """
    options = _options(idempotent)
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    if tls.server_name is not None:
        options = (*options, ("grpc.ssl_target_name_override", tls.server_name))

    def make(certificates: Certificates) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(target, channel_credentials(certificates), options=options)

    return RenewingChannel(CertificateFiles(tls), make)


def _options(idempotent: Sequence[tuple[str, str]]) -> tuple[tuple[str, str | int], ...]:
    retried = [{"service": service, "method": method} for service, method in idempotent]
    config: dict[str, object] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},
    }
    if retried:
        policy = {
            # About two seconds in total: long enough to find a new replica, and short enough for a caller to wait.
            "maxAttempts": 5,
            "initialBackoff": "0.1s",
            "maxBackoff": "1s",
            "backoffMultiplier": 3,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        config["methodConfig"] = [{"name": retried, "retryPolicy": policy}]
    return (
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # The server knows how large an image may be, and refuses what is larger.
        ("grpc.max_send_message_length", UNLIMITED),
        ("grpc.service_config", json.dumps(config)),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # gRPC's default is 30 seconds. After a rollout, clients must find the new replicas sooner.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        ("grpc.enable_http_proxy", 0),
    )


def call_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata that every call carries: the id of the current request, if there is one."""
    identifier = request_id()
    return ((REQUEST_ID_KEY, identifier),) if identifier else ()
