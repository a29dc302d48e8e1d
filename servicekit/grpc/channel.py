"""Channels to upstreams, with load balancing, health checks and retries of idempotent calls.

A process opens one channel for each upstream.
"""

import json
from collections.abc import Mapping, Sequence

import grpc

from servicekit.grpc.probe import ConnectionProbe
from servicekit.grpc.renewing_channel import RenewingChannel, Retry
from servicekit.grpc.server import MAX_MESSAGE_BYTES
from servicekit.grpc.tls import CertificateFiles, Certificates, channel_credentials
from servicekit.request_context import REQUEST_ID_KEY, request_id
from servicekit.settings import TlsFiles

UNLIMITED = -1
# About two seconds in total: long enough to find a new replica, and short enough for a caller to wait.
PAUSES = (0.1, 0.3, 0.9, 1.0)
# Half a second: the first repetition goes to another node, if there is one.
FOREIGN_PAUSES = (0.1, 0.3)

Methods = Sequence[tuple[str, str]]
Options = tuple[tuple[str, str | int], ...]


def open_channel(
    target: str, *, service: str | None = "", idempotent: Methods = (), tls: TlsFiles | None = None
) -> grpc.aio.Channel:
    """Open a channel to one of our services. The caller closes it.

    target: "dns:///embedder:9001" for all addresses of a name, "ipv4:10.0.0.1:9001,10.0.0.2:9001" for several
    addresses, "127.0.0.1:9001" or "unix:/run/embedder.sock" for one. Calls go round-robin to the addresses whose health
    service reports SERVING for `service`; None: to all that can be reached. idempotent: the (service, method) pairs
    that are retried when the upstream returns UNAVAILABLE or stops. tls: the files for mutual TLS; None for plain text.
    Raises StartupError when the TLS files cannot be used.
    """
    options: Options = (
        *_options({} if service is None else {"healthCheckConfig": {"serviceName": service}}),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # The server knows how large an image may be, and refuses what is larger.
        ("grpc.max_send_message_length", UNLIMITED),
        ("grpc.keepalive_time_ms", 30_000),
    )
    retry, explained = Retry(idempotent, PAUSES), ConnectionProbe(tls).explained
    if tls is None:

        def make_plain(_: None) -> grpc.aio.Channel:
            return grpc.aio.insecure_channel(target, options=options)

        return RenewingChannel(make_plain, lambda: None, retry=retry, explained=explained)
    if tls.server_name is not None:
        options = (*options, ("grpc.ssl_target_name_override", tls.server_name))

    def make(certificates: Certificates) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(target, channel_credentials(certificates), options=options)

    return RenewingChannel(make, CertificateFiles(tls).current, retry=retry, explained=explained)


def open_foreign_channel(
    target: str,
    *,
    idempotent: Methods,
    credentials: grpc.ChannelCredentials | None,
) -> grpc.aio.Channel:
    """Open a channel to servers that are not ours, such as those of a database. The caller closes it.

    Calls go round-robin to all addresses of `target`, whatever their health services report. idempotent: the (service,
    method) pairs that are sent again, to the next address, when one returns UNAVAILABLE. credentials: for TLS; None
    for plain text.
    """
    options: Options = (
        *_options({}),
        ("grpc.max_receive_message_length", UNLIMITED),
        ("grpc.max_send_message_length", UNLIMITED),
        # A node that has vanished without a word is left after this time.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
    )

    def make(_: None) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(target, options=options)
        return grpc.aio.secure_channel(target, credentials, options=options)

    # A server to which we send no certificate has none to refuse.
    explained = _unchanged if credentials is not None else ConnectionProbe().explained
    return RenewingChannel(make, lambda: None, retry=Retry(idempotent, FOREIGN_PAUSES), explained=explained)


async def _unchanged(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    return error


def _options(config: Mapping[str, object]) -> Options:
    return (
        ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}], **config})),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # gRPC's default is 30 seconds. After a rollout, clients must find the new replicas sooner.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        # gRPC's default is 120 seconds, in which calls would wait for a name server that does not respond.
        ("grpc.dns_ares_query_timeout", 5_000),
        ("grpc.enable_http_proxy", 0),
    )


def call_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata that every call carries: the id of the current request, if there is one."""
    identifier = request_id()
    return ((REQUEST_ID_KEY, identifier),) if identifier else ()
