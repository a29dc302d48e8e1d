"""Postgres and Qdrant over TLS. The builds in our tests do not support TLS, so a proxy in front of them does."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
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
async def qdrant_port(qdrant_address: str, authority: Authority, tmp_path: Path) -> AsyncIterator[int]:
    host, _, port = qdrant_address.rpartition(":")

    async def connect() -> Streams:
        return await asyncio.open_connection(host, int(port))

    async with tls_front(authority.issue(tmp_path / "qdrant", "localhost"), connect) as port_of_front:
        yield port_of_front


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
    for url in (postgres.url("localhost", stranger), postgres.url("127.0.0.1", ca_file)):
        async with Database.open(url) as database:
            with pytest.raises(Unavailable):
                await database.ping()


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
async def test_qdrant_over_tls_checks_the_certificate(qdrant_port: int, ca_file: Path, stranger: Path) -> None:
    trusted = QdrantAddress.parse(f"localhost:{qdrant_port}", tls=True, ca_file=ca_file)
    async with open_qdrant(trusted) as client:
        await Generations(client).ping()
    for address in (
        QdrantAddress.parse(f"localhost:{qdrant_port}", tls=True, ca_file=stranger),
        QdrantAddress.parse(f"127.0.0.1:{qdrant_port}", tls=True, ca_file=ca_file),
        QdrantAddress.parse(f"localhost:{qdrant_port}"),
    ):
        async with open_qdrant(address) as client:
            with pytest.raises(Unavailable):
                await Generations(client).ping()
