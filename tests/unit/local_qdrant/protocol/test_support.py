"""Requests with unsupported fields are refused."""

import pytest
from google.protobuf.message import Message

from local_qdrant.protocol.status import Code, StatusError
from local_qdrant.protocol.support import SUPPORTED, refuse_unsupported
from servicekit.qdrant_api import collections_pb2, points_pb2


def refusal(message: Message) -> str:
    with pytest.raises(StatusError) as error:
        refuse_unsupported(message)
    assert error.value.code is Code.UNIMPLEMENTED
    return error.value.message


@pytest.mark.parametrize("name", sorted(SUPPORTED))
def test_every_supported_field_exists_in_qdrants_messages(name: str) -> None:
    pool = points_pb2.DESCRIPTOR.pool
    known = {field.name for field in pool.FindMessageTypeByName(name).fields}
    assert SUPPORTED[name] <= known


def test_an_unsupported_field_is_named_with_its_path() -> None:
    request = points_pb2.QueryPoints(collection_name="c")
    request.params.acorn.enable = True
    assert "params.acorn" in refusal(request)


def test_an_unsupported_field_in_any_point_is_found() -> None:
    request = points_pb2.UpsertPoints(collection_name="c")
    for number in range(3):
        point = request.points.add()
        point.id.num = number
        point.vectors.vector.dense.data.append(1.0)
    refuse_unsupported(request)
    request.points[2].vectors.vector.sparse.indices.append(1)
    assert "points.vectors.vector.sparse" in refusal(request)


def test_a_payload_may_hold_anything() -> None:
    point = points_pb2.PointStruct()
    point.payload["a"].struct_value.fields["b"].list_value.values.add().null_value = 0
    refuse_unsupported(point)


def test_a_field_set_to_an_empty_message_counts_as_set() -> None:
    request = points_pb2.CountPoints(collection_name="c")
    request.filter.SetInParent()
    assert "filter" in refusal(request)


def test_a_field_of_a_newer_protocol_is_refused_at_any_depth() -> None:
    body = points_pb2.PointStruct().SerializeToString() + b"\xca\x3e\x02hi"
    request = points_pb2.UpsertPoints(collection_name="c")
    request.points.add().MergeFromString(body)
    assert "newer" in refusal(request)


def test_an_unknown_message_is_refused() -> None:
    assert "UpdateCollection" in refusal(collections_pb2.UpdateCollection(collection_name="c"))
