"""Put load on an embedder over gRPC: single images like the gateway, and streams like the trainer.

Started by `bench/embedder.py`: `python -m bench.parts.service_load TARGET FOLDER`.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

from similis.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from bench.parts.measuring_process import Answer, answer_commands
from bench.parts.sample_images import sample_images
from servicekit.grpc.channel import open_channel


class ServiceLoad:
    """A client that measures. Its own work is part of what it measures."""

    def __init__(self, target: str, folder: str) -> None:
        self._target = target
        self._images = sample_images(folder)
        self._runner = asyncio.Runner()

    def unary(self, seconds: float, concurrency: int) -> Answer:
        """Send single images from `concurrency` callers, each of which waits for its answer before the next one."""
        return self._runner.run(self._unary(seconds, concurrency))

    def stream(self, seconds: float) -> Answer:
        """Send one stream as fast as the service accepts it, and measure from its first answer to its last one."""
        return self._runner.run(self._stream(seconds))

    def images(self, count: int) -> Answer:
        """Send one stream of `count` images."""
        return self._runner.run(self._stream(1e9, count))

    async def _unary(self, seconds: float, concurrency: int) -> Answer:
        times: list[float] = []
        async with open_channel(self._target) as channel:
            stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
            await stub.Embed(embedder_pb2.EmbedRequest(image=self._images[0]))
            start = time.perf_counter()

            async def caller(number: int) -> None:
                index = number
                while (started := time.perf_counter()) < start + seconds:
                    await stub.Embed(embedder_pb2.EmbedRequest(image=self._images[index % len(self._images)]))
                    times.append((time.perf_counter() - started) * 1000)
                    index += concurrency

            await asyncio.gather(*(caller(number) for number in range(concurrency)))
        return {"images": len(times), "seconds": time.perf_counter() - start, "milliseconds": times}

    async def _stream(self, seconds: float, limit: int = sys.maxsize) -> Answer:
        async with open_channel(self._target) as channel:
            stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
            count = 0
            end = time.perf_counter() + seconds
            first = last = 0.0

            async def requests() -> AsyncIterator[embedder_pb2.EmbedStreamRequest]:
                number = 0
                while time.perf_counter() < end and number < limit:
                    image = self._images[number % len(self._images)]
                    yield embedder_pb2.EmbedStreamRequest(item_id=number, image=image)
                    number += 1

            async for response in stub.EmbedStream(requests()):
                if not response.HasField("embedding"):
                    raise SystemExit(f"an image was not embedded: {response.error.code}")
                count += 1
                last = time.perf_counter()
                first = first or last
            return {"images": count - 1, "seconds": last - first}


if __name__ == "__main__":
    load = ServiceLoad(sys.argv[1], sys.argv[2])
    answer_commands({"unary": load.unary, "stream": load.stream, "images": load.images})
