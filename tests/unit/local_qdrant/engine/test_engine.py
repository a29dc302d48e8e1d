"""The request loop of an engine process, called directly."""

from pathlib import Path

import pytest

from local_qdrant.engine.loop import OpenShards, answer
from local_qdrant.protocol.status import Code
from local_qdrant.protocol.wire import (
    Counts,
    Operation,
    Reply,
    Request,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from local_qdrant.storage import Storage
from servicekit.qdrant_api import collections_pb2 as pb
from servicekit.qdrant_api import points_pb2

NAMES = ("a", "b", "c")


@pytest.fixture
def shards(tmp_path: Path) -> OpenShards:
    storage = Storage(tmp_path)
    with storage:
        for name in NAMES:
            request = pb.CreateCollection(collection_name=name)
            request.vectors_config.params.size = 2
            request.vectors_config.params.distance = pb.Dot
            storage.create(name, request)
    return OpenShards(storage, limit=2, indexing_threads=1)


def upsert(name: str, *ids: int) -> Request:
    request = points_pb2.UpsertPoints(collection_name=name)
    for number in ids:
        point = request.points.add()
        point.id.num = number
        point.vectors.vector.dense.data.extend([1.0, float(number)])
    return Request(Operation.UPSERT, name, request.SerializeToString())


def test_more_collections_than_fit_open_at_once_are_all_served(shards: OpenShards, tmp_path: Path) -> None:
    for number in range(3):
        for name in NAMES:
            reply = answer(shards, upsert(name, number))
            assert (reply.code, reply.counts.points) == (Code.OK, number + 1)
    other = OpenShards(Storage(tmp_path), limit=2, indexing_threads=1)
    states = [answer(other, Request(Operation.LOAD, name)).code for name in NAMES]
    assert states == [Code.OK, Code.UNAVAILABLE, Code.UNAVAILABLE]
    shards.close_all()
    assert [answer(other, Request(Operation.LOAD, name)).code for name in NAMES] == [Code.OK] * 3
    other.close_all()


def test_a_closed_collection_can_be_opened_by_another_process(shards: OpenShards, tmp_path: Path) -> None:
    other = OpenShards(Storage(tmp_path), limit=2, indexing_threads=1)
    assert answer(shards, upsert("a", 1, 2)).code is Code.OK
    assert answer(shards, Request(Operation.SETTLE, "a")).code is Code.OK
    assert answer(shards, Request(Operation.CLOSE, "a")).code is Code.OK
    assert answer(shards, Request(Operation.CLOSE, "a")).code is Code.OK
    assert answer(other, Request(Operation.LOAD, "a")).counts.points == 2
    other.close_all()


def test_an_upsert_with_a_bad_point_writes_nothing(shards: OpenShards) -> None:
    bad = points_pb2.UpsertPoints.FromString(upsert("a", 1, 2).payload)
    bad.points[1].vectors.vector.dense.data.append(1.0)
    assert answer(shards, Request(Operation.UPSERT, "a", bad.SerializeToString())).code is Code.INVALID_ARGUMENT
    assert answer(shards, Request(Operation.LOAD, "a")).counts.points == 0
    shards.close_all()


def test_vectors_of_one_response_are_limited(shards: OpenShards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_qdrant.engine.shard.MAX_VECTOR_BYTES", 16)
    answer(shards, upsert("a", 1, 2, 3))
    for limit, expected in ((2, Code.OK), (3, Code.INVALID_ARGUMENT)):
        page = points_pb2.ScrollPoints(collection_name="a", limit=limit)
        page.with_vectors.enable = True
        assert answer(shards, Request(Operation.SCROLL, "a", page.SerializeToString())).code is expected
    shards.close_all()


@pytest.mark.parametrize("name", ["c", "ünïcode", "x" * 255])
def test_frames_are_decoded_to_what_was_encoded(name: str) -> None:
    request = Request(Operation.QUERY, name, b"\0payload")
    reply = Reply(Code.NOT_FOUND, Counts(2**40, 3, 4), "no ✓", b"\0rest")
    assert decode_request(encode_request(request), request.payload) == request
    assert decode_reply(encode_reply(reply), reply.payload) == reply
