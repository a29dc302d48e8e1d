"""Converts payloads and point ids between Qdrant's protobuf values and the engine's Python values."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from local_qdrant.protocol.status import invalid
from servicekit.qdrant_api import json_with_int_pb2, qdrant_common_pb2

PointId = int | UUID | str
Json = None | bool | int | float | str | list[Any] | dict[str, Any]


def from_value(value: json_with_int_pb2.Value) -> Json:
    """Return a protobuf value as JSON."""
    kind = value.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    if kind == "struct_value":
        return from_payload(value.struct_value.fields)
    if kind == "list_value":
        return [from_value(item) for item in value.list_value.values]
    scalar: bool | int | float | str = getattr(value, kind)
    return scalar


def from_payload(fields: Mapping[str, json_with_int_pb2.Value]) -> dict[str, Json]:
    """Return a payload as a dictionary."""
    return {key: from_value(value) for key, value in fields.items()}


def set_value(target: json_with_int_pb2.Value, value: Json) -> None:
    """Fill a protobuf value with a JSON value."""
    match value:
        case None:
            target.null_value = json_with_int_pb2.NULL_VALUE
        case bool():
            target.bool_value = value
        case int():
            target.integer_value = value
        case float():
            target.double_value = value
        case str():
            target.string_value = value
        case list():
            target.list_value.SetInParent()
            for item in value:
                set_value(target.list_value.values.add(), item)
        case dict():
            target.struct_value.SetInParent()
            for key, item in value.items():
                set_value(target.struct_value.fields[key], item)


def from_point_id(point_id: qdrant_common_pb2.PointId) -> PointId:
    """Return a point's id. Raises `StatusError` (INVALID_ARGUMENT) when it is missing or not a valid UUID."""
    kind = point_id.WhichOneof("point_id_options")
    if kind == "num":
        return point_id.num
    if kind != "uuid":
        raise invalid("No ID options provided")
    try:
        return UUID(point_id.uuid)
    except ValueError as error:
        raise invalid(f"Unable to parse UUID: {point_id.uuid}") from error


def set_point_id(target: qdrant_common_pb2.PointId, point_id: PointId) -> None:
    """Fill a protobuf point id."""
    if isinstance(point_id, int):
        target.num = point_id
    else:
        target.uuid = str(point_id)
