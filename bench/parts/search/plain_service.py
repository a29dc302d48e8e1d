"""The plain alternative to Similis: one process, no databases, nothing that survives it.

Started by `bench/workloads`: `python -m bench.parts.search.plain_service SOURCE MODEL DATA`. It prints its port. DATA
is an .npz file with `matrix` (of the adapter), `tuned` (unit vectors of all rows) and `ids`. Two threads decode and
infer, each with its own engine. A search that is alone uses an engine with all cores. Vectors are compared with
one product of numpy. It has the routes that the benchmark uses, and checks nothing.
"""

import asyncio
import base64
import json
import queue
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from aiohttp import web

from catalog.vectors.projection import Matrix, Projection
from embedder.backbones.source import BackboneSource
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.engines.openvino_engine import OpenVinoEngine

THREADS = 2
RESULTS = 5
MAX_BODY_BYTES = 32 << 20
MAX_PIXELS = 50_000_000


class PlainService:
    """A flat index and the threads that make query vectors."""

    def __init__(self, source: BackboneSource, model: Path, data: Path) -> None:
        stored = np.load(data)
        self._adapter = Projection(stored["matrix"])
        self._tuned = np.ascontiguousarray(stored["tuned"])
        self._ids = stored["ids"].tolist()
        self._places = {identifier: place for place, identifier in enumerate(self._ids)}
        self._urls = [
            (f"https://images.example.org/{place}.jpg", f"https://repository.example.org/{place}")
            for place in range(len(self._ids))
        ]
        self._decoder = Decoder(prepare_pillow(), MAX_PIXELS, source.preprocessing)
        self._engines: queue.SimpleQueue[OpenVinoEngine] = queue.SimpleQueue()
        for _ in range(THREADS):
            self._engines.put(OpenVinoEngine(model, threads=1, all_threads=THREADS))
        self._pool = ThreadPoolExecutor(THREADS)
        self._running = 0

    async def search(self, request: web.Request) -> web.Response:
        """Search by an image: base64 in JSON, or the file itself."""
        body = await request.read()
        is_json = request.content_type == "application/json"
        self._running += 1
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._pool, self._search_image, body, is_json, self._running == 1)
        finally:
            self._running -= 1
        return _answer(found)

    async def similar(self, request: web.Request) -> web.Response:
        """Search by the id of an image."""
        place = self._places[int(request.query["image_id"])]
        return _answer(self._nearest(self._tuned[place]))

    def _search_image(self, body: bytes, is_json: bool, is_alone: bool) -> list[dict[str, object]]:
        image = base64.b64decode(json.loads(body)["image"]) if is_json else body
        pixels = prepare_inputs(self._decoder, image, views=0, seed=0).pixels[0]
        engine = self._engines.get()
        try:
            vector = engine.embed(pixels[np.newaxis], all_cores=is_alone)
        finally:
            self._engines.put(engine)
        return self._nearest(self._adapter.apply(vector)[0])

    def _nearest(self, vector: Matrix) -> list[dict[str, object]]:
        scores = self._tuned @ vector
        best = np.argpartition(scores, -RESULTS)[-RESULTS:]
        best = best[np.argsort(-scores[best])]
        return [
            {
                "image_id": self._ids[place],
                "image_url": self._urls[place][0],
                "repo_url": self._urls[place][1],
                "score": float(scores[place]),
            }
            for place in best.tolist()
        ]


def _answer(found: list[dict[str, object]]) -> web.Response:
    return web.Response(body=json.dumps({"results": found}).encode(), content_type="application/json")


async def serve(service: PlainService) -> None:
    """Serve until standard input ends."""
    application = web.Application(client_max_size=MAX_BODY_BYTES)
    application.router.add_post("/api/collection/{id}/search", service.search)
    application.router.add_get("/api/collection/{id}/similar", service.similar)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(PlainService(BackboneSource.from_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))))
