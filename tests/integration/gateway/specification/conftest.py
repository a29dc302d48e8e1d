"""A gateway with all its parts and a collection that can be searched, for calling it as the specification says."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from catalog.vectors.false_matches import FALSE_MATCH_RATES
from gateway.app import gateway
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.api import Api, api_client
from tests.integration.gateway.conftest import Parts, settings_for
from tests.integration.gateway.easydb import running_easydb, thing
from tests.integration.gateway.indexing import Indexer, content

IMAGES = 12


@dataclass(frozen=True)
class Instance:
    """A gateway, and a collection with its index."""

    api: Api
    collection: int
    index: int


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def instance(
    parts: Parts, embedder: RunningEmbedder, indexer: Indexer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Instance]:
    """Run a gateway that downloads nothing. Its HeidICON has the tag "Coins" with one object."""
    async with running_easydb() as easydb:
        easydb.objects = [thing(1)]
        given = {"embedder_address": embedder.target, "heidicon_url": easydb.url, "fetch_image_urls": False}
        settings = settings_for(parts, given, tmp_path_factory.mktemp("spool"))
        async with gateway(settings) as running, api_client(f"http://{running.host}:{running.port}", parts.key) as api:
            collection = await api.create("Coins")
            (await api.upload(collection, content(range(IMAGES)))).pushed()
            rates = [1 - rate for rate in FALSE_MATCH_RATES]
            quality = json.dumps({"false_match_scores": rates, "false_match_prominences": rates})
            index = await indexer.index(collection, quality=quality)
            yield Instance(api, collection, index.id)
