"""The databases that a backup is made of: those of an instance, whether it runs or not, or servers."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from catalog.postgres.database import database_url as server_url
from catalog.settings import StoreSettings
from catalog.vectors.client import Qdrant, QdrantAddress, open_qdrant
from standalone.instance.addresses import Addresses
from standalone.instance.data_directory import DataDirectory, find_data_directory, is_in_use, open_data_directory
from standalone.instance.run_directory import check_private, run_directory_of
from standalone.postgres.database import running_database
from standalone.postgres.server import database_url
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import supervised
from standalone.services import Services, operators_environment

GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Stores:
    """Open databases. prefix: of our names in Qdrant. admin_key: the file with the first API key, of an instance."""

    database_url: str
    qdrant: Qdrant
    prefix: str
    admin_key: Path | None = None


@asynccontextmanager
async def server_stores(settings: StoreSettings) -> AsyncIterator[Stores]:
    """Yield the servers that the settings name. They are connected to on first use. Raises SettingsError."""
    url = server_url(settings)
    async with open_qdrant(QdrantAddress.from_settings(settings)) as qdrant:
        yield Stores(url, qdrant, settings.vector_prefix)


@asynccontextmanager
async def instance_stores(root: Path, prefix: str) -> AsyncIterator[Stores]:
    """Yield the databases of the instance in `root`. Start them if the instance does not run. Raises StartupError."""
    data = find_data_directory(root)
    if is_in_use(data):
        sockets = run_directory_of(data)
        check_private(sockets, data)
        async with open_qdrant(_address(Addresses("", 0, sockets))) as qdrant:
            yield Stores(database_url(sockets), qdrant, prefix, data.admin_key)
        return
    sys.stderr.write("similis: the instance is not running, so its databases are started for this command\n")
    async with open_data_directory(root, min_free_bytes=0) as data, running_stores(data, prefix) as stores:
        yield stores


@asynccontextmanager
async def running_stores(data: DataDirectory, prefix: str) -> AsyncIterator[Stores]:
    """Run the databases on an open data directory. Raises StartupError."""
    async with running_database(data) as url:
        addresses = Addresses("127.0.0.1", 0, run_directory_of(data))
        services = Services(
            data,
            addresses,
            environment=operators_environment(),
            grace_seconds=GRACE_SECONDS,
            allow_private_addresses=False,
        )
        async with supervised(services.qdrant(), ChildLog("qdrant", data.logs)) as child:
            await child.wait_ready()
            async with open_qdrant(_address(addresses)) as qdrant:
                yield Stores(url, qdrant, prefix, data.admin_key)


def _address(addresses: Addresses) -> QdrantAddress:
    return QdrantAddress(f"unix:{addresses.qdrant}")
