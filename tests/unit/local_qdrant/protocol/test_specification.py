"""Creation requests: defaults, precedence, ranges."""

from typing import Any

import pytest

from local_qdrant.protocol.specification import specify
from local_qdrant.protocol.status import Code, StatusError
from servicekit.qdrant_api import collections_pb2 as pb

# Protobuf enums are open: any number can arrive.
UNKNOWN_DISTANCE: Any = 99


def request(**fields: Any) -> pb.CreateCollection:
    made = pb.CreateCollection(collection_name="c", **fields)
    made.vectors_config.params.size = made.vectors_config.params.size or 8
    made.vectors_config.params.distance = made.vectors_config.params.distance or pb.Cosine
    return made


def test_qdrants_defaults_apply_unless_the_request_overrides_them() -> None:
    made = specify(request())
    assert (made.hnsw.m, made.hnsw.ef_construct) == (16, 100)
    assert made.optimizers.indexing_threshold == 10_000
    assert made.scalar is None
    assert made.on_disk_payload


def test_parameters_of_the_vector_override_those_of_the_collection() -> None:
    message = request(hnsw_config=pb.HnswConfigDiff(m=8, ef_construct=50))
    message.vectors_config.params.hnsw_config.m = 4
    message.quantization_config.scalar.type = pb.Int8
    message.vectors_config.params.quantization_config.scalar.CopyFrom(pb.ScalarQuantization(type=pb.Int8, quantile=0.9))

    made = specify(message)

    assert (made.hnsw.m, made.hnsw.ef_construct) == (4, 50)
    assert made.scalar is not None
    assert made.scalar.quantile == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("m", "threshold", "quantized", "wanted"),
    [(16, 100, False, True), (0, 100, False, False), (16, 0, True, False), (0, 100, True, True)],
)
def test_an_index_is_wanted_if_there_is_a_threshold_and_a_graph_or_quantization(
    m: int, threshold: int, quantized: bool, wanted: bool
) -> None:
    message = request(
        hnsw_config=pb.HnswConfigDiff(m=m), optimizers_config=pb.OptimizersConfigDiff(indexing_threshold=threshold)
    )
    if quantized:
        message.quantization_config.scalar.type = pb.Int8
    assert specify(message).wants_index is wanted


@pytest.mark.parametrize(
    "fields",
    [
        {"vectors_config": pb.VectorsConfig(params=pb.VectorParams(size=65_537, distance=pb.Dot))},
        {"vectors_config": pb.VectorsConfig(params=pb.VectorParams(size=8, distance=UNKNOWN_DISTANCE))},
        {"hnsw_config": pb.HnswConfigDiff(ef_construct=3)},
        {"optimizers_config": pb.OptimizersConfigDiff(deleted_threshold=1.5)},
        {"optimizers_config": pb.OptimizersConfigDiff(deleted_threshold=float("nan"))},
        {"quantization_config": pb.QuantizationConfig(scalar=pb.ScalarQuantization(type=pb.Int8, quantile=0.2))},
        {"quantization_config": pb.QuantizationConfig(scalar=pb.ScalarQuantization())},
        {"quantization_config": pb.QuantizationConfig()},
    ],
)
def test_values_out_of_range_are_invalid(fields: dict[str, Any]) -> None:
    with pytest.raises(StatusError) as error:
        specify(request(**fields))
    assert error.value.code is Code.INVALID_ARGUMENT


def test_a_request_without_vectors_is_refused() -> None:
    with pytest.raises(StatusError):
        specify(pb.CreateCollection(collection_name="c"))


def test_named_vectors_share_the_configuration_of_the_collection() -> None:
    message = pb.CreateCollection(collection_name="c", hnsw_config=pb.HnswConfigDiff(m=8))
    for name, size in (("one", 4), ("other", 8)):
        message.vectors_config.params_map.map[name].CopyFrom(pb.VectorParams(size=size, distance=pb.Cosine))

    made = specify(message)

    assert {name: vector.size for name, vector in made.vectors.items()} == {"one": 4, "other": 8}
    assert made.hnsw.m == 8
    message.vectors_config.params_map.map["one"].hnsw_config.m = 4
    with pytest.raises(StatusError, match="for the whole collection") as refused:
        specify(message)
    assert refused.value.code is Code.UNIMPLEMENTED
