"""A backup of servers while they work: uploads and a finetune go on, and nothing acknowledged is missing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from catalog.jobs import JobState
from catalog.postgres.database import Database
from catalog.settings import StoreSettings
from catalog.vectors.client import QdrantAddress, open_qdrant
from standalone.backup.create import check_backup, create_backup
from standalone.backup.restore import restore_servers
from standalone.backup.stores import server_stores
from tests.integration.databases import new_database
from tests.integration.qdrant_process import running_qdrant
from tests.integration.trainer.conftest import Trainers, until
from tests.integration.trainer.parts.image_host import ImageHost
from tests.integration.workplace import Workplace

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("nothing_to_learn")]

CONTENTS = """
SELECT c.id, c.name, t.digest, t.row_count FROM collections c
LEFT JOIN contents t ON t.collection_id = c.id AND t.revision = c.content_revision
"""


def settings_of(place: Workplace) -> StoreSettings:
    return StoreSettings(
        database_url=SecretStr(place.database_url), qdrant_address=place.qdrant_address, vector_prefix=place.prefix
    )


class Uploads:
    """Creates collections without a pause, and remembers what was acknowledged."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self.acknowledged: list[int] = []

    async def run(self) -> None:
        while True:
            identifier = await self._place.collection([f"https://example.org/{n}.jpg" for n in range(20)])
            self.acknowledged.append(identifier)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_backup_under_load_restores_every_acknowledged_write_from_before_its_start(
    trainers: Trainers, workplace: Workplace, host: ImageHost, postgres_url: str, tmp_path: Path
) -> None:
    urls = host.picture_urls(40)
    searched = await workplace.collection(urls[:20])
    await trainers.finetuned(searched)
    learning = await workplace.collection(urls[20:])
    uploads = Uploads(workplace)
    async with uploads.running():
        served, host.delay = host.pictures_served.total(), 0.2
        job = await workplace.finetune(learning)
        async with trainers.running(lease_seconds=3.0):

            async def works() -> bool:
                return host.pictures_served.total() > served + 3 and len(uploads.acknowledged) > 5

            await until(works)
            # The finetune lasts until the backup has ended.
            host.open.clear()
            before = list(uploads.acknowledged)
            expected = [row for row in await workplace.rows(CONTENTS) if row[0] in (searched, learning, *before)]
            await create_backup(server_stores(settings_of(workplace)), tmp_path / "backup")
            assert len(uploads.acknowledged) > len(before)
            assert (await workplace.jobs.get(job.id)).state is JobState.RUNNING
            host.open.set()
            # The work that went on is not lost.
            assert (await trainers.ended(job)).state is JobState.DONE
    check_backup(tmp_path / "backup")
    _, index = await workplace.indexes.live(searched)
    assert index is not None
    assert index.dim is not None
    query = np.ones(index.dim, np.float32)
    hits = await workplace.generations.query(index.qdrant_collection, query, 20, None)

    async with (
        new_database(postgres_url, migrated=False) as url,
        running_qdrant(tmp_path / "qdrant") as server,
        Database.open(url) as database,
        open_qdrant(QdrantAddress(server.address)) as client,
    ):
        place = Workplace(url, server.address, workplace.prefix, tmp_path, database, client)
        await restore_servers(tmp_path / "backup", settings_of(place))
        restored = await place.rows(CONTENTS)
        assert [row for row in expected if row not in restored] == []
        assert len(before) >= 5
        for collection in before:
            assert len(await place.images.page(collection, 1, after=0, limit=100)) == 20
        _, live = await place.indexes.live(searched)
        assert live is not None
        assert await place.generations.query(live.qdrant_collection, query, 20, None) == hits
        # The finetune that ran continues, and the janitor finds nothing that must go.
        others = Trainers(place, trainers.embedder)
        async with others.running():
            assert (await others.ended(job)).state is JobState.DONE
        assert await place.generations.query(live.qdrant_collection, query, 20, None) == hits
        assert (await place.indexes.live(learning))[1] is not None
        assert await place.rows("SELECT count(*) FROM indexes WHERE lost_at IS NOT NULL") == [(0,)]
