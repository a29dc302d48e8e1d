"""Postgres and Qdrant over TLS. The builds in our tests do not support TLS, so a proxy in front of them does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from catalog.postgres.database import Database, with_ca_file
from catalog.vectors.client import QdrantAddress, open_qdrant
from catalog.vectors.generations import Generations
from servicekit.errors import Unavailable
from standalone.schema import migrate_data_directory
from tests.certificates import Authority
from tests.integration.databases import new_database
from tests.tls_front import Streams, tls_front


@pytest.fixture
def authority() -> Authority:
    return Authority()


@dataclass(frozen=True)
class Front:
    """A TLS proxy in front of Postgres. database: the path of the test's own database."""

    port: int
    database: str

    def url(self, host: str, ca_file: Path) -> str:
        return with_ca_file(f"postgresql://similis@{host}:{self.port}{self.database}", ca_file)


@pytest_asyncio.fixture(loop_scope="session")
async def postgres(postgres_url: str, authority: Authority, tmp_path: Path) -> AsyncIterator[Front]:
    socket = Path(parse_qs(urlsplit(postgres_url).query)["host"][0]) / ".s.PGSQL.5432"

    async def connect() -> Streams:
        return await asyncio.open_unix_connection(socket)

    files = authority.issue(tmp_path / "postgres", "localhost")
    async with new_database(postgres_url) as url, tls_front(files, connect, postgres=True) as port:
        yield Front(port, urlsplit(url).path)


@pytest_asyncio.fixture(loop_scope="session")
async def qdrant_over_tls(
    qdrant_address: str, authority: Authority, tmp_path: Path
) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """A function that puts a TLS proxy in front of Qdrant, with a certificate for a name, and returns its address."""
    host, _, port = qdrant_address.rpartition(":")

    async def connect() -> Streams:
        return await asyncio.open_connection(host, int(port))

    async with AsyncExitStack() as stack:

        async def front(name: str) -> str:
            files = authority.issue(tmp_path / name, name)
            return f"127.0.0.1:{await stack.enter_async_context(tls_front(files, connect))}"

        yield front


@pytest.fixture
def ca_file(authority: Authority, tmp_path: Path) -> Path:
    path = tmp_path / "ca.crt"
    path.write_bytes(authority.pem)
    return path


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    path = tmp_path / "stranger.crt"
    path.write_bytes(Authority().pem)
    return path


@pytest.mark.asyncio(loop_scope="session")
async def test_postgres_over_tls_works_with_a_trusted_certificate(postgres: Front, ca_file: Path) -> None:
    url = postgres.url("localhost", ca_file)
    assert await migrate_data_directory(url) == []
    async with Database.open(url) as database:
        await database.ping()


@pytest.mark.asyncio(loop_scope="session")
async def test_postgres_is_unavailable_with_an_untrusted_certificate_or_a_wrong_name(
    postgres: Front, ca_file: Path, stranger: Path
) -> None:
    for url, reason in (
        (postgres.url("localhost", stranger), "not signed by an authority that is trusted here"),
        (postgres.url("127.0.0.1", ca_file), "for another name"),
    ):
        async with Database.open(url) as database:
            with pytest.raises(Unavailable) as error:
                await database.ping()
        assert error.value.code == "database_tls_failed"
        assert reason in error.value.message


def test_tls_parameters_in_the_url_are_kept() -> None:
    url = "postgresql://me:p%40ss@db:5432/similis?sslmode=require&application_name=x"
    assert with_ca_file(url, None) == url
    made = urlsplit(with_ca_file(url, Path("/etc/ca file.crt")))
    assert (made.username, made.password, made.hostname, made.path) == ("me", "p%40ss", "db", "/similis")
    assert parse_qs(made.query) == {
        "sslmode": ["require"],
        "sslrootcert": ["/etc/ca file.crt"],
        "application_name": ["x"],
    }


@pytest.mark.asyncio(loop_scope="session")
async def test_qdrant_over_tls_checks_the_certificate(
    qdrant_over_tls: Callable[[str], Awaitable[str]], authority: Authority
) -> None:
    target, other_name = await qdrant_over_tls("127.0.0.1"), await qdrant_over_tls("qdrant.example.org")
    trusted = QdrantAddress(target, tls=True, authorities=authority.pem)
    async with open_qdrant(trusted) as client:
        await Generations(client).ping()
    for address, reason in (
        (replace(trusted, authorities=Authority().pem), "not signed by an authority that is trusted here"),
        (replace(trusted, target=other_name), "for another name"),
        (QdrantAddress(target), "it accepts only TLS"),
    ):
        async with open_qdrant(address) as client:
            with pytest.raises(Unavailable) as error:
                await Generations(client).ping()
        assert error.value.code == "qdrant_tls_failed"
        assert reason in error.value.message


@pytest.mark.asyncio(loop_scope="session")
async def test_tls_to_a_qdrant_or_postgres_without_it_is_reported(qdrant_address: str) -> None:
    async with open_qdrant(QdrantAddress(qdrant_address, tls=True)) as client:
        with pytest.raises(Unavailable) as error:
            await Generations(client).ping()
    assert (error.value.code, "it does not use TLS" in error.value.message) == ("qdrant_tls_failed", True)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"N")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with Database.open(f"postgresql://similis@127.0.0.1:{port}/similis?sslmode=require") as database:
            with pytest.raises(Unavailable) as refused:
                await database.ping()
    assert (refused.value.code, "it does not use TLS" in refused.value.message) == ("database_tls_failed", True)
