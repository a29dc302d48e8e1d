"""Converts the parameters of a read from Qdrant's messages to the engine's types."""

import qdrant_edge as edge

from local_qdrant.protocol.status import invalid
from servicekit.qdrant_api import points_pb2

DEFAULT_LIMIT = 10


def limit_of(request: points_pb2.QueryPoints | points_pb2.ScrollPoints) -> int:
    """Return how many points to return. Raises `StatusError` (INVALID_ARGUMENT) for a limit of 0."""
    if not request.HasField("limit"):
        return DEFAULT_LIMIT
    if request.limit < 1:
        raise invalid("limit: value 0 invalid, must be 1 or larger")
    return request.limit


def search_params(params: points_pb2.SearchParams) -> edge.SearchParams:
    """Return the search parameters. Raises `StatusError` (INVALID_ARGUMENT) for values out of range."""
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
    """Return which part of the payload to return: none unless the request asks for it."""
    kind = selector.WhichOneof("selector_options")
    if kind == "include":
        return edge.PayloadSelector.Include(list(selector.include.fields))
    if kind == "exclude":
        return edge.PayloadSelector.Exclude(list(selector.exclude.fields))
    return selector.enable
