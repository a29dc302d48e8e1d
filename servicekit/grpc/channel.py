"""Channels to upstreams: one for each in a process, with balancing, retries of what is safe, and our metadata."""

import json
from collections.abc import Sequence

import grpc

from servicekit.grpc.server import MAX_MESSAGE_BYTES
from servicekit.grpc.tls import CertificateFiles, Certificates, channel_credentials
from servicekit.grpc.tls_channel import RenewingChannel
from servicekit.request_context import REQUEST_ID_KEY, request_id
from servicekit.settings import TlsFiles


def open_channel(
    target: str, *, idempotent: Sequence[tuple[str, str]] = (), tls: TlsFiles | None = None
) -> grpc.aio.Channel:
    """A channel to `target`.

    "dns:///embedder:9001" stands for all addresses that the name has, "ipv4:10.0.0.1:9001,10.0.0.2:9001" for these;
    "127.0.0.1:9001" and "unix:/run/embedder.sock" for one. Calls are dealt out, in turn, to those whose health service
    says that they serve. `idempotent` names (service, method) pairs that are
    sent again when the upstream was UNAVAILABLE. tls: we show a certificate and demand one. The caller closes the
    channel. Raises StartupError when the TLS files cannot be used.
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
            # About two seconds in all: what a new replica takes to be found, and nobody waits long for nothing.
            "maxAttempts": 5,
            "initialBackoff": "0.1s",
            "maxBackoff": "1s",
            "backoffMultiplier": 3,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        config["methodConfig"] = [{"name": retried, "retryPolicy": policy}]
    return (
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.service_config", json.dumps(config)),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # After replicas were replaced, the names of the new ones are asked for at once and not half a minute later.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        ("grpc.enable_http_proxy", 0),
    )


def call_metadata() -> tuple[tuple[str, str], ...]:
    """The metadata that every call carries: the id of the request it is made for."""
    identifier = request_id()
    return ((REQUEST_ID_KEY, identifier),) if identifier else ()
