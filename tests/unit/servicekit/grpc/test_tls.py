# ruff: noqa: ARG002, N802 - the protocol defines these names and arguments
"""Mutual TLS between our services, over real connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from similis.embedder.v1 import embedder_pb2 as pb
from similis.embedder.v1 import embedder_pb2_grpc

from servicekit.errors import Unavailable
from servicekit.grpc.channel import open_channel
from servicekit.grpc.server import RunningServer, ServerPlan, grpc_server
from servicekit.grpc.status import from_rpc_error
from servicekit.grpc.tls import CertificateFiles
from servicekit.process.service import StartupError
from servicekit.settings import TlsFiles
from servicekit.telemetry.metrics import RpcServerMetrics
from tests.certificates import Authority

SERVICE = "similis.embedder.v1.EmbedderService"
Stream: TypeAlias = grpc.aio.StreamStreamCall[pb.EmbedStreamRequest, pb.EmbedStreamResponse]


class CallerReporter(embedder_pb2_grpc.EmbedderServiceServicer):
    """Return the serial number of the caller's certificate, and echo the items of a stream."""

    async def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        (certificate,) = context.auth_context()["x509_pem_cert"]
        return pb.DescribeResponse(backbone=serial(certificate))

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:
        raise NotImplementedError

    async def EmbedText(self, request: pb.EmbedTextRequest, context: Any) -> pb.EmbedTextResponse:
        raise NotImplementedError

    async def EmbedStream(
        self, request_iterator: AsyncIterator[pb.EmbedStreamRequest], context: Any
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        async for request in request_iterator:
            yield pb.EmbedStreamResponse(item_id=request.item_id)


def serial(pem: bytes) -> str:
    return str(x509.load_pem_x509_certificate(pem).serial_number)


@asynccontextmanager
async def serving(files: TlsFiles | None, *, health_port: int | None = None) -> AsyncIterator[RunningServer]:
    tls = None if files is None else CertificateFiles(files)
    plan = ServerPlan("127.0.0.1:0", grace_seconds=1, tls=tls, health_port=health_port)
    async with grpc_server(
        plan,
        services=[SERVICE],
        register=lambda server: embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(CallerReporter(), server),
        metrics=RpcServerMetrics(CollectorRegistry()),
    ) as running:
        yield running


async def ask_for_caller(channel: grpc.aio.Channel) -> str:
    """Return the serial number of our certificate as the server sees it."""
    answer = await embedder_pb2_grpc.EmbedderServiceStub(channel).Describe(pb.DescribeRequest(), timeout=10)
    return str(answer.backbone)


async def assert_refused(channel: grpc.aio.Channel) -> None:
    """Check that the server refuses the connection."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask_for_caller(channel)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def open_stream(channel: grpc.aio.Channel) -> Stream:
    return embedder_pb2_grpc.EmbedderServiceStub(channel).EmbedStream(None)


async def echo(stream: Stream, item_id: int) -> None:
    """Send an item and check that the server sends it back."""
    await stream.write(pb.EmbedStreamRequest(item_id=item_id))
    response = await stream.read()
    assert isinstance(response, pb.EmbedStreamResponse)
    assert response.item_id == item_id


async def test_a_client_and_a_server_with_certificates_of_the_same_authority_can_talk(tmp_path: Path) -> None:
    authority = Authority()
    ours, theirs = authority.issue(tmp_path / "client"), authority.issue(tmp_path / "server")
    async with serving(theirs) as running, open_channel(f"127.0.0.1:{running.port}", tls=ours) as channel:
        assert await ask_for_caller(channel) == serial(ours.certificate.read_bytes())


async def test_a_client_without_a_certificate_is_refused(tmp_path: Path) -> None:
    authority = Authority()
    async with serving(authority.issue(tmp_path / "server")) as running:
        credentials = grpc.ssl_channel_credentials(authority.pem)
        async with grpc.aio.secure_channel(f"127.0.0.1:{running.port}", credentials) as channel:
            await assert_refused(channel)
        async with open_channel(f"127.0.0.1:{running.port}") as channel:
            await assert_refused(channel)


async def test_a_client_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    authority = Authority()
    stranger = replace(
        Authority().issue(tmp_path / "client"), authorities=authority.issue(tmp_path / "trusted").authorities
    )
    async with (
        serving(authority.issue(tmp_path / "server")) as running,
        open_channel(f"127.0.0.1:{running.port}", tls=stranger) as channel,
    ):
        await assert_refused(channel)


async def test_a_server_certificate_with_another_name_is_refused_unless_that_name_is_configured(tmp_path: Path) -> None:
    authority = Authority()
    ours = authority.issue(tmp_path / "client")
    async with serving(authority.issue(tmp_path / "server", "embedder.example.org")) as running:
        target = f"127.0.0.1:{running.port}"
        async with open_channel(target, tls=ours) as channel:
            await assert_refused(channel)
        async with open_channel(target, tls=replace(ours, server_name="embedder.example.org")) as channel:
            await ask_for_caller(channel)


async def test_new_certificates_are_used_without_a_restart_and_open_streams_continue(tmp_path: Path) -> None:
    old, new = Authority(), Authority()
    ours, theirs = old.issue(tmp_path / "client"), old.issue(tmp_path / "server")
    async with serving(theirs) as running, open_channel(f"127.0.0.1:{running.port}", tls=ours) as channel:
        before = await ask_for_caller(channel)
        stream = open_stream(channel)
        await echo(stream, 1)

        new.issue(tmp_path / "server")
        new.issue(tmp_path / "client")
        after = await ask_for_caller(channel)
        assert after == serial(ours.certificate.read_bytes()) != before
        await echo(stream, 2)
        await stream.done_writing()

        stale = old.issue(tmp_path / "stale")
        async with open_channel(f"127.0.0.1:{running.port}", tls=stale) as other:
            await assert_refused(other)


async def test_closing_the_channel_also_ends_streams_on_old_certificates(tmp_path: Path) -> None:
    authority = Authority()
    ours, theirs = authority.issue(tmp_path / "client"), authority.issue(tmp_path / "server")
    async with serving(theirs) as running:
        async with open_channel(f"127.0.0.1:{running.port}", tls=ours) as channel:
            stream = open_stream(channel)
            await echo(stream, 1)
            authority.issue(tmp_path / "client")
            await ask_for_caller(channel)
            assert not stream.done()
        assert await stream.code() is grpc.StatusCode.CANCELLED
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "old-channel"]


def test_new_files_are_ignored_until_key_and_certificate_match(tmp_path: Path) -> None:
    authority = Authority()
    files = authority.issue(tmp_path / "files")
    certificates = CertificateFiles(files)
    before = certificates.current()
    other = authority.issue(tmp_path / "other")
    files.certificate.write_bytes(other.certificate.read_bytes())
    assert certificates.current() is before
    files.key.write_bytes(other.key.read_bytes())
    assert certificates.current().chain == other.certificate.read_bytes()


def test_unusable_files_are_a_startup_error(tmp_path: Path) -> None:
    files = Authority().issue(tmp_path / "files")
    files.key.unlink()
    with pytest.raises(StartupError, match="TLS files cannot be used"):
        CertificateFiles(files)


async def test_the_health_port_needs_no_tls_and_answers_only_health_checks(tmp_path: Path) -> None:
    authority = Authority()
    serving_status, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    async with (
        serving(authority.issue(tmp_path / "server"), health_port=0) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.health_port}") as channel,
    ):
        check = health_pb2_grpc.HealthStub(channel).Check
        for is_serving, status in ((True, serving_status), (False, not_serving)):
            await running.health.set_serving(is_serving)
            assert (await check(health_pb2.HealthCheckRequest())).status == status
            assert (await check(health_pb2.HealthCheckRequest(service="liveness"))).status == serving_status
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ask_for_caller(channel)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def unavailable(target: str, tls: TlsFiles | None) -> Unavailable:
    """Return the error that callers get while a server cannot be used."""
    async with open_channel(target, tls=tls) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ask_for_caller(channel)
    found = from_rpc_error(error.value, upstream="embedder")
    assert isinstance(found, Unavailable)
    return found


@pytest.mark.parametrize(
    ("ours", "theirs", "reason"),
    [
        ("none", "good", "it accepts only TLS."),
        ("good", "none", "it does not use TLS."),
        ("good", "foreign", "its certificate is not signed by an authority that is trusted here."),
        ("good", "expired", "its certificate has expired."),
        ("good", "other name", "its certificate is for another name."),
        ("foreign", "good", "it refused our certificate."),
        ("expired", "good", "it refused our certificate, which has expired."),
    ],
)
async def test_callers_learn_why_a_tls_connection_fails(tmp_path: Path, ours: str, theirs: str, reason: str) -> None:
    authority = Authority()
    trusted = authority.issue(tmp_path / "trusted").authorities
    files = {
        "none": None,
        "good": authority.issue(tmp_path / "good"),
        "expired": authority.issue(tmp_path / "expired", days=-1),
        "other name": authority.issue(tmp_path / "other", "embedder.example.org"),
        "foreign": replace(Authority().issue(tmp_path / "foreign"), authorities=trusted),
    }
    async with serving(files[theirs]) as running:
        problem = await unavailable(f"127.0.0.1:{running.port}", files[ours])
    assert problem.code == "embedder_tls_failed"
    assert reason in problem.message


async def test_callers_learn_that_a_server_does_not_speak_grpc_or_is_down() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        problem = await unavailable(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", None)
    assert problem.code == "embedder_unavailable"
    assert "SIMILIS_EMBEDDER_ADDRESS" in problem.message
    assert "does not speak gRPC" in problem.message
    down = await unavailable("127.0.0.1:1", None)
    assert (down.code, down.message) == ("embedder_unavailable", "The embedder is not available.")


async def test_a_server_that_ends_connections_without_tls_is_not_said_to_need_it() -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    async with server:
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert (await unavailable(target, None)).code == "embedder_unavailable"
