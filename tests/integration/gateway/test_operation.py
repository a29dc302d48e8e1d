"""Running a gateway: settings, readiness, metrics, parts that go down and come back, and shutdown."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from structlog.testing import capture_logs

from catalog.collections import Collections, lock
from catalog.keys.api_keys import ApiKeys
from catalog.postgres.database import Database
from catalog.postgres.migrate import migrate
from gateway.config import GatewaySettings
from gateway.upstreams.readiness import CACHE_SECONDS
from gateway.upstreams.schema_wait import SchemaWait
from servicekit.errors import DeadlineExceeded, Unavailable
from tests.certificates import Authority
from tests.eventually import eventually
from tests.integration.databases import new_database
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.api import Api, answered, api_client
from tests.integration.gateway.conftest import UNREACHABLE, Launch, Parts
from tests.integration.gateway.parts import running_postgres
from tests.integration.keyed_qdrant import keyed_qdrant
from tests.integration.qdrant_process import running_qdrant
from tests.ports import free_port
from tests.processes import gone

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROW = b"https://example.org/1.jpg,https://repo.example.org/1\n"


async def test_healthz_and_the_root_answer(api: Api) -> None:
    answer = await api.get("/healthz")
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert (await api.get("/")).json["name"] == "similis"


async def test_health_checks_and_scrapes_are_not_logged(api: Api, capsys: Any, caplog: Any) -> None:
    for path in ("/healthz", "/readyz", "/readyz/gateway", "/metrics"):
        assert (await api.get(path)).status in (200, 503)
    await api.get("/api/collection/list")
    # Earlier tests may have configured either.
    logged = "".join(capsys.readouterr()) + caplog.text
    assert "/api/collection/list" in logged
    assert not [path for path in ("/healthz", "/readyz", "/metrics") if path in logged]


async def test_readiness_names_the_part_that_does_not_answer(api: Api, launch: Launch) -> None:
    answer = await api.get("/readyz")
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    parts = answer.json["parts"]
    assert {name for name, state in parts.items() if state == "ok"} == {"postgres", "schema", "qdrant"}
    assert "embedder" in parts
    isolated = await launch(qdrant_address=UNREACHABLE, database_url="postgresql://nobody@127.0.0.1:1/nothing")
    answer = await isolated.get("/readyz")
    assert answer.status == 503
    assert "ok" not in answer.json["parts"].values()
    assert (await isolated.get("/healthz")).status == 200
    # It keeps taking requests, so that clients get a 503 with a reason.
    assert (await isolated.get("/readyz/gateway")).status == 200
    (await isolated.get("/api/collection/list")).refused(503, "database_unavailable")


async def test_the_api_gets_503_until_the_schema_is_there(launch: Launch, parts: Parts) -> None:
    async with new_database(parts.database_url, migrated=False) as url:
        api = await launch(database_url=url)
        (await api.get("/api/collection/list")).refused(503, "schema_missing")
        answer = await api.get("/readyz")
        assert answer.status == 503
        assert answer.json["parts"]["postgres"] == "ok"
        assert answer.json["parts"]["schema"] != "ok"
        await migrate(url)
        await answered(lambda: api.get("/api/collection/list"), 200)


async def test_the_schema_of_a_later_release_is_accepted(launch: Launch, parts: Parts) -> None:
    async with new_database(parts.database_url, migrated=False) as url:
        await migrate(url)
        async with Database.open(url) as database, database.connection() as connection:
            await connection.execute("INSERT INTO schema_migrations VALUES (9999, 'of_a_later_release')")
            await connection.execute("ALTER TABLE collections ADD COLUMN later int")
        api = await launch(database_url=url)
        assert (await api.get("/api/collection/list")).status == 200


async def test_requests_are_counted_by_the_template_of_their_route(api: Api) -> None:
    identifier = await api.create()
    await api.info(identifier)
    await api.get("/api/collection/0/info")
    await api.get(f"/nowhere/{identifier}")
    await api.call("PROPFIND", "/api/collection/list")
    await api.upload(identifier, ROW)
    answer = await api.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    found = {
        (s.labels["http_request_method"], s.labels["http_route"], s.labels["http_response_status_code"])
        for s in families["http_server_request_duration_seconds"].samples
    }
    assert {
        ("GET", "/api/collection/{id}/info", "200"),
        ("GET", "/api/collection/{id}/info", "400"),
        ("GET", "unmatched", "404"),
        ("OTHER", "unmatched", "405"),
    } <= found
    samples = families["similis_upload_stage_duration_seconds"].samples
    stages = {sample.labels["stage"] for sample in samples if sample.name.endswith("_count") and sample.value}
    assert stages == {"receive", "queue", "read", "store"}
    assert "similis_build_info" in families


@pytest.mark.parametrize(
    "header",
    [
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"x-forwarded-host": "similis.example.org"},
        {"Forwarded": "for=203.0.113.9"},
        {"X-Real-IP": "203.0.113.9"},
        {"Via": "1.1 proxy"},
        {"Origin": "https://elsewhere.example.org"},
        # What a proxy that adds nothing sends, and a page whose name resolves to this machine.
        {"Host": "similis.example.org"},
    ],
    ids=lambda header: next(iter(header)),
)
async def test_metrics_on_the_apis_port_are_not_served_through_a_proxy(api: Api, header: dict[str, str]) -> None:
    assert (await api.get("/metrics")).status == 200
    answer = await api.get("/metrics", headers=header)
    answer.refused(404, "not_found")
    assert "this machine only" in answer.json["message"]
    assert "SIMILIS_METRICS_PORT" in answer.json["message"]
    assert b"similis_build_info" not in answer.body


async def test_metrics_on_the_apis_port_are_not_served_to_other_machines(launch: Launch) -> None:
    api = await launch(host="0.0.0.0")  # noqa: S104 - that is the point
    ours = next(
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    )
    headers = {"Host": "localhost"}
    assert (await api.get("/metrics", headers=headers)).status == 200
    other = Api(api.session, f"http://{ours}:{urlsplit(api.url).port}", api.key)
    (await other.get("/metrics", headers=headers)).refused(404, "not_found")


async def test_metrics_with_their_own_port_are_served_only_there(launch: Launch) -> None:
    port = free_port()
    api = await launch(metrics_port=port)
    assert (await api.get("/metrics")).status == 404
    # There, the operator's network decides who can ask.
    async with api.session.get(f"http://127.0.0.1:{port}/metrics", headers={"X-Real-IP": "203.0.113.9"}) as answer:
        assert answer.status == 200
        assert "similis_build_info" in await answer.text()


async def test_metrics_show_which_upstreams_answer(launch: Launch) -> None:
    api = await launch()

    async def seen() -> dict[str, float]:
        text = (await api.get("/metrics")).body.decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        return {sample.labels["upstream"]: sample.value for sample in families["similis_upstream_up"].samples}

    # The gateway asks its upstreams in the background.
    async with asyncio.timeout(20):
        while await seen() != {"postgres": 1, "qdrant": 1, "embedder": 0, "trainer": 0}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_nearly_full_disk_refuses_only_uploads_and_finetunes(launch: Launch, tmp_path: Path) -> None:
    identifier = await (roomy := await launch()).create()
    (await roomy.upload(identifier, ROW)).pushed()
    api = await launch(data_directory=tmp_path, min_free_disk_bytes=1 << 60)
    (await api.upload(identifier, ROW + ROW)).refused(507, "no_space")
    (await api.upload_raw(identifier, ROW + ROW)).refused(507, "no_space")
    (await api.post(f"/api/collection/{identifier}/finetune")).refused(507, "no_space")
    assert (await api.info(identifier))["finetuning_state"] == "never"
    assert await api.csv(identifier) == ROW
    (await api.post(f"/api/collection/{identifier}/delete")).pushed()


async def test_reading_may_require_a_key_too(launch: Launch) -> None:
    api = await launch(read_key_required=True)
    identifier = await api.create()
    for method, path in (
        ("GET", "/api/collection/list"),
        ("GET", f"/api/collection/{identifier}/info"),
        ("GET", f"/api/collection/{identifier}/csvfile"),
        ("POST", f"/api/collection/{identifier}/search"),
    ):
        (await api.call(method, path)).refused(403, "forbidden")
        answer = await api.call(method, path, headers={"API-Key": api.key})
        assert answer.status == (200 if method == "GET" else 400)


async def test_origins_can_be_restricted(launch: Launch) -> None:
    api = await launch(cors_origins="https://a.example, https://b.example/")
    for origin, allowed in (
        ("https://a.example", "https://a.example"),
        ("https://b.example", "https://b.example"),
        ("https://c.example", None),
        ("null", None),
    ):
        for method, path in (("GET", "/api/collection/list"), ("OPTIONS", "/api/verify"), ("GET", "/nowhere")):
            answer = await api.call(method, path, headers={"Origin": origin})
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed
            assert "Origin" in answer.headers["Vary"]


async def test_a_defect_gets_500_and_reveals_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Collections) -> None:
        raise RuntimeError("SELECT secret FROM /etc/passwd")

    monkeypatch.setattr(Collections, "names", broken)
    answer = await api.get("/api/collection/list")
    answer.refused(500, "internal")
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
        b"POST /api/verify HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_broken_http_gets_a_problem_too(api: Api, raw: bytes, caplog: Any) -> None:
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert b"application/problem+json" in head
    problem = json.loads(body)
    assert problem["code"] == "invalid_http"
    assert problem["request_id"].encode() in head
    assert b"aiohttp" not in head
    assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in head
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in head
    assert "Traceback" not in caplog.text


async def test_secrets_are_never_logged(launch: Launch, capsys: Any, caplog: Any) -> None:
    api = await launch()
    identifier = await api.create()
    secret = api.key.partition(".")[2]
    await api.post("/api/verify", key=f"{api.key}x")
    await api.post(f"/api/collection/{identifier}/updatecontent", {"content": "!"})
    await api.get(f"/api/collection/list?key={secret}")
    out, err = capsys.readouterr()
    assert secret not in out + err + caplog.text


async def test_the_api_gets_503_while_postgres_is_down(launch: Launch, tmp_path: Path) -> None:
    async with running_postgres(tmp_path / "data") as url:
        async with Database.open(url) as database:
            key = await ApiKeys(database).create("tests")
        api = await launch(database_url=url)
        api.key = key
        identifier = await api.create("survives")
        await api.upload(identifier, ROW)
    (await api.get("/api/collection/list")).refused(503, "database_unavailable")
    (await api.get(f"/api/collection/{identifier}/csvfile")).refused(503, "database_unavailable")
    (await api.post(f"/api/collection/{identifier}/updatename", {"name": "x"})).refused(503, "database_unavailable")
    (await api.post("/api/verify", key=None)).refused(403, "forbidden")
    async with running_postgres(tmp_path / "data"):
        await answered(lambda: api.get("/api/collection/list"), 200)
        assert (await api.info(identifier))["name"] == "survives"
        assert await api.csv(identifier) == ROW


async def test_an_aborted_download_does_not_look_complete(launch: Launch, tmp_path: Path) -> None:
    row = b"https://example.org/" + b"x" * 4000 + b",https://repo.example.org/1\n"
    async with running_postgres(tmp_path / "data") as url:
        async with Database.open(url) as database:
            key = await ApiKeys(database).create("tests")
        api = await launch(database_url=url)
        api.key = key
        identifier = await api.create()
        (await api.upload_raw(identifier, row * 5000)).pushed()
        download = await api.session.get(f"{api.url}/api/collection/{identifier}/csvfile")
        assert download.status == 200
        await download.content.readexactly(1000)
    with pytest.raises(aiohttp.ClientError):
        await download.read()
    download.close()


async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept a connection and never answer."""
    await reader.read()
    writer.close()


async def test_a_hanging_part_cannot_delay_a_request_beyond_its_deadline(launch: Launch) -> None:
    server = await asyncio.start_server(never_answers, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        api = await launch(database_url=f"postgresql://similis@127.0.0.1:{port}/x", request_seconds=0.3)
        started = asyncio.get_running_loop().time()
        for path in ("list", "1/info"):
            (await api.get(f"/api/collection/{path}")).refused(504, "deadline_exceeded")
        assert asyncio.get_running_loop().time() - started < 10
        assert (await api.get("/healthz")).status == 200


async def test_readiness_shows_that_qdrant_went_down(launch: Launch, tmp_path: Path) -> None:
    async with running_qdrant(tmp_path / "qdrant") as server:
        address = f"{server.host}:{server.grpc_port}"
        api = await launch(qdrant_address=address)
        assert (await api.get("/readyz")).json["parts"]["qdrant"] == "ok"

    async def state() -> str:
        found: str = (await api.get("/readyz")).json["parts"]["qdrant"]
        return found

    async with asyncio.timeout(20):
        while await state() == "ok":  # noqa: ASYNC110 - Qdrant is another process
            await asyncio.sleep(0.05)


@asynccontextmanager
async def gateway_process(parts: Parts, spool: Path, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m gateway`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway"),
        env={
            **os.environ,
            "SIMILIS_DATABASE_URL": parts.database_url,
            "SIMILIS_QDRANT_ADDRESS": parts.qdrant_address,
            "SIMILIS_SPOOL_DIRECTORY": str(spool),
            **{f"SIMILIS_{name.upper()}": value for name, value in settings.items()},
        },
        stderr=asyncio.subprocess.PIPE,
        cwd=spool,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_shutdown_waits_for_requests_under_way(parts: Parts, tmp_path: Path) -> None:
    port = free_port()
    async with gateway_process(parts, tmp_path, port=str(port)) as process:
        assert process.stderr is not None
        async with asyncio.timeout(30):
            while b"gateway_listening" not in await process.stderr.readline():
                pass
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"name": "finished"}'
        head = f"POST /api/collection/create HTTP/1.1\r\nHost: x\r\nAPI-Key: {parts.key}\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            while b"service_stopping" not in await process.stderr.readline():
                pass
        writer.write(body)
        answer = await reader.read()
        assert b"HTTP/1.1 200 OK" in answer
        writer.close()
        async with asyncio.timeout(30):
            assert await process.wait() == 0
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)
    assert not os.listdir(tmp_path)  # noqa: PTH208 (the linter considers Path.iterdir as blocking)


async def test_wrong_settings_are_reported_in_one_line(parts: Parts, tmp_path: Path) -> None:
    wrong = {"port": "x", "heidicon_url": "ftp://x", "max_image_bytes": "0"}
    async with gateway_process(parts, tmp_path, **wrong) as process:
        _, error = await process.communicate()
    assert process.returncode == 78
    assert error.decode().count("\n") == 1
    assert all(f"SIMILIS_{name.upper()}" in error.decode() for name in wrong)


async def test_a_folder_for_uploads_that_cannot_be_used_is_named(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with gateway_process(parts, tmp_path, spool_directory=str(tmp_path / "file" / "spool")) as process:
        _, error = await process.communicate()
    assert process.returncode == 78
    assert f"in {tmp_path}/file/spool: Not a directory. Set SIMILIS_SPOOL_DIRECTORY" in error.decode()


async def test_a_killed_gateway_leaves_no_process_and_the_next_one_removes_its_files(
    parts: Parts, launch: Launch, tmp_path: Path
) -> None:
    port = free_port()
    async with gateway_process(parts, tmp_path, port=str(port)) as process:
        async with api_client(f"http://127.0.0.1:{port}", parts.key) as api:
            identifier = await until_it_listens(api)
            async with held(parts, identifier):
                upload = asyncio.create_task(api.upload_raw(identifier, ROW * 400_000))
                await eventually(lambda: bool(psutil.Process(process.pid).children()))
                children = psutil.Process(process.pid).children()
                process.kill()
                with pytest.raises(aiohttp.ClientError):
                    await upload
        await eventually(lambda: gone(children))
    assert spools(tmp_path) == 1
    api = await launch()
    assert spools(tmp_path) == 1
    assert (await api.info(identifier))["number_of_images"] == 0


@asynccontextmanager
async def held(parts: Parts, collection: int) -> AsyncIterator[None]:
    """Keep uploads to the collection from finishing."""
    async with Database.open(parts.database_url) as database, database.transaction() as connection:
        await lock(connection, collection)
        yield


async def until_it_listens(api: Api) -> int:
    """Create a collection, as soon as the gateway listens."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                return await api.create()
            await asyncio.sleep(0.05)


def spools(parent: Path) -> int:
    """Return how many gateways have a folder there."""
    return len(list(parent.glob("similis-gateway-*")))


class FailingFirst(Database):
    """A database whose first connections fail, not always with an error of ours."""

    failures: ClassVar[list[Exception]] = [DeadlineExceeded("Slow."), RuntimeError("role does not exist")]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        if self.failures:
            raise self.failures.pop()
        async with super().connection() as connection:
            yield connection


async def test_waiting_for_the_schema_survives_database_errors(parts: Parts) -> None:
    async with FailingFirst.open(parts.database_url) as database, SchemaWait.open(database) as schema:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(Unavailable, DeadlineExceeded):
                    await schema.check()
                    break
    assert not FailingFirst.failures


async def test_a_port_in_use_is_reported_in_one_line(parts: Parts, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with gateway_process(parts, tmp_path, port=str(port)) as process:
            _, error = await process.communicate()
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in error.decode()


async def test_a_wrong_address_ends_with_the_status_of_a_wrong_setting(parts: Parts, tmp_path: Path) -> None:
    async with gateway_process(parts, tmp_path, qdrant_address="http://127.0.0.1:6334") as process:
        _, error = await process.communicate()
    assert process.returncode == 78
    assert error.decode().startswith("gateway: SIMILIS_QDRANT_ADDRESS: expected HOST:PORT")


async def test_a_wrong_key_for_qdrant_is_said_everywhere_and_logged_once(launch: Launch) -> None:
    with capture_logs() as events:
        async with keyed_qdrant() as target:
            api = await launch(qdrant_address=target)
            for _ in range(3):
                answer = await api.get("/readyz")
                assert "SIMILIS_QDRANT_API_KEY is missing or wrong" in answer.json["parts"]["qdrant"]
                await asyncio.sleep(CACHE_SECONDS)
    lost = [event for event in events if event["event"] == "upstream_lost" and event["upstream"] == "qdrant"]
    assert [event["code"] for event in lost] == ["qdrant_key_refused"]
    assert not [event for event in events if "exc_info" in event]


async def test_the_log_has_nothing_but_events(parts: Parts, embedder: RunningEmbedder, tmp_path: Path) -> None:
    """gRPC used to write a line for each failed TLS handshake, five per second."""
    files = Authority().issue(tmp_path / "tls")
    names = {"tls_cert_file": files.certificate, "tls_key_file": files.key, "tls_ca_file": files.authorities}
    settings = {"port": "0", "embedder_address": embedder.target, **{name: str(path) for name, path in names.items()}}
    lines = [""]
    async with gateway_process(parts, tmp_path, **settings) as process, asyncio.timeout(30):
        assert process.stderr is not None
        while "embedder_tls_failed" not in lines[-1]:
            lines.append((await process.stderr.readline()).decode())
    assert [line for line in lines[1:] if not line.startswith("{")] == []


async def test_the_repr_of_settings_hides_the_database_url() -> None:
    settings = GatewaySettings(database_url=SecretStr("postgresql://user:secret@host/db"))
    assert "secret" not in repr(settings)
    assert "secret" not in str(settings)


async def test_finetuning_is_possible_without_an_embedder(api: Api) -> None:
    identifier = await api.create()
    content = base64.b64encode(ROW).decode()
    (await api.post(f"/api/collection/{identifier}/updatecontent", {"content": content})).pushed()
    assert (await api.info(identifier))["requires_finetuning"] is True
    (await api.post(f"/api/collection/{identifier}/finetune")).pushed()
