"""What a read asks for, as the engine takes it."""

import qdrant_edge as edge

from local_qdrant.protocol.messages import points_pb2
from local_qdrant.protocol.status import invalid

_DEFAULT_LIMIT = 10


def limit_of(request: points_pb2.QueryPoints | points_pb2.ScrollPoints) -> int:
    """How many points are asked for. Raises `StatusError` (INVALID_ARGUMENT) for none."""
    if not request.HasField("limit"):
        return _DEFAULT_LIMIT
    if request.limit < 1:
        raise invalid("limit: value 0 invalid, must be 1 or larger")
    return request.limit


def search_params(params: points_pb2.SearchParams) -> edge.SearchParams:
    """How to search. Raises `StatusError` (INVALID_ARGUMENT) for values out of range."""
    quantization = params.quantization
    if quantization.HasField("oversampling") and not quantization.oversampling >= 1.0:
        raise invalid("params.quantization.oversampling: must be 1.0 or larger")
    return edge.SearchParams(
        hnsw_ef=params.hnsw_ef if params.HasField("hnsw_ef") else None,
        exact=params.exact,
        indexed_only=params.indexed_only,
        quantization=edge.QuantizationSearchParams(
            ignore=quantization.ignore,
            rescore=quantization.rescore if quantization.HasField("rescore") else None,
            oversampling=quantization.oversampling if quantization.HasField("oversampling") else None,
        )
        if params.HasField("quantization")
        else None,
    )


def with_payload(selector: points_pb2.WithPayloadSelector) -> "bool | edge.PayloadSelector":
    """Which of the payload to give; none of it unless asked for."""
    kind = selector.WhichOneof("selector_options")
    if kind == "include":
        return edge.PayloadSelector.Include(list(selector.include.fields))
    if kind == "exclude":
        return edge.PayloadSelector.Exclude(list(selector.exclude.fields))
    return selector.enable
