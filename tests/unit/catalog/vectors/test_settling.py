"""Waiting for Qdrant's graph, with servers that report green before their optimizer has begun."""

from typing import Any

import pytest

from catalog.vectors import settling
from catalog.vectors.settling import wait_until_settled
from servicekit.errors import Unavailable
from servicekit.qdrant_api import collections_pb2

GREEN, YELLOW = collections_pb2.Green, collections_pb2.Yellow
GREY, RED = collections_pb2.Grey, collections_pb2.Red
# With 128 dimensions and a threshold of 10,000 kB, segments of 20,000 vectors or more get a graph.
DIM, THRESHOLD = 128, 10_000


def description(
    status: "collections_pb2.CollectionStatus.ValueType",
    points: int,
    indexed: int,
    *,
    segments: int = 2,
    threshold: int = THRESHOLD,
) -> collections_pb2.CollectionInfo:
    vectors = collections_pb2.VectorParams(size=DIM, distance=collections_pb2.Cosine)
    return collections_pb2.CollectionInfo(
        status=status,
        optimizer_status=collections_pb2.OptimizerStatus(ok=status != RED),
        points_count=points,
        indexed_vectors_count=indexed,
        segments_count=segments,
        config=collections_pb2.CollectionConfig(
            params=collections_pb2.CollectionParams(vectors_config=collections_pb2.VectorsConfig(params=vectors)),
            optimizer_config=collections_pb2.OptimizersConfigDiff(indexing_threshold=threshold),
        ),
    )


class Server:
    """A server that gives these descriptions in turn, and then the last one. A second passes between them."""

    def __init__(self, *descriptions: collections_pb2.CollectionInfo) -> None:
        self._descriptions = list(descriptions)
        self.seconds = 0
        self.updates = 0

    async def describe_collection(self, name: str) -> collections_pb2.CollectionInfo:  # noqa: ARG002
        self.seconds += 1
        return self._descriptions.pop(0) if len(self._descriptions) > 1 else self._descriptions[0]

    async def start_optimizer(self, name: str) -> None:  # noqa: ARG002
        self.updates += 1


async def seconds_until_settled(monkeypatch: pytest.MonkeyPatch, count: int, *descriptions: Any) -> int:
    server = Server(*descriptions)
    monkeypatch.setattr(settling, "POLL_SECONDS", 0)
    monkeypatch.setattr("catalog.vectors.settling.monotonic", lambda: float(server.seconds))
    await wait_until_settled(server, "index", count)
    return server.seconds


async def test_green_before_the_optimizer_has_begun_is_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    early = [description(GREEN, 100_000, 0), description(GREEN, 100_000, 0)]
    working = [description(YELLOW, 100_000, 0), description(GREEN, 100_000, 40_000)]
    done = description(GREEN, 100_000, 100_000)
    assert await seconds_until_settled(monkeypatch, 100_000, *early, *working, done) == 5


async def test_a_server_that_does_not_count_all_points_yet_is_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    late = description(GREEN, 0, 0)
    assert await seconds_until_settled(monkeypatch, 100_000, late, description(GREEN, 100_000, 100_000)) == 2


@pytest.mark.parametrize("indexed", [0, 81_000])
async def test_vectors_of_one_small_segment_need_no_graph(monkeypatch: pytest.MonkeyPatch, indexed: int) -> None:
    count = indexed + 19_999
    assert await seconds_until_settled(monkeypatch, count, description(GREEN, count, indexed)) == 1


async def test_a_collection_whose_graph_is_turned_off_is_settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await seconds_until_settled(monkeypatch, 100_000, description(GREEN, 100_000, 0, threshold=0)) == 1


async def test_several_segments_below_the_threshold_are_settled_if_it_stays_green(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two segments of 15,000 vectors each. They are equal to what a server reports before its optimizer has begun.
    info = description(GREEN, 30_000, 0)
    assert await seconds_until_settled(monkeypatch, 30_000, info) == 1 + settling.GREEN_SECONDS
    # Another status in between starts the wait again.
    states = [info, info, description(YELLOW, 30_000, 0), info]
    assert await seconds_until_settled(monkeypatch, 30_000, *states) == 4 + settling.GREEN_SECONDS


async def test_a_graph_that_is_never_completed_is_accepted_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    info = description(GREEN, 100_000, 10_000)
    assert await seconds_until_settled(monkeypatch, 100_000, info) == 1 + settling.ACCEPT_SECONDS


async def test_a_server_that_waits_for_an_update_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(description(GREY, 100_000, 0), description(YELLOW, 100_000, 0), description(GREEN, 100_000, 90_000))
    monkeypatch.setattr(settling, "POLL_SECONDS", 0)
    await wait_until_settled(server, "index", 100_000)
    assert server.updates == 1


async def test_a_failed_optimizer_is_an_error() -> None:
    with pytest.raises(Unavailable) as error:
        await wait_until_settled(Server(description(RED, 100_000, 0)), "index", 100_000)
    assert error.value.code == "qdrant_optimizer_failed"


async def test_a_server_that_counts_each_vector_of_a_point_is_settled_when_all_are_indexed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    early, done = (description(GREEN, 100_000, indexed) for indexed in (100_000, 200_000))
    for each in (early, done):
        vectors = each.config.params.vectors_config
        params = vectors.params
        vectors.params_map.map["tuned"].CopyFrom(params)
        vectors.params_map.map["shared"].CopyFrom(collections_pb2.VectorParams(size=16))
    assert await seconds_until_settled(monkeypatch, 100_000, early, early, done) == 3
