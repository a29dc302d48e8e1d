"""A collection's configuration: the validated creation request with Qdrant's defaults filled in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local_qdrant.protocol.status import invalid, unsupported
from local_qdrant.protocol.support import refuse_unsupported
from servicekit.qdrant_api import collections_pb2 as pb

MAX_VECTOR_SIZE = 65536
# The name of the vector of a collection whose points have a single one.
UNNAMED = ""
FORBIDDEN_IN_NAMES = frozenset('<>:"/\\|?*\0\x1f')
MAX_NAME_BYTES = 255

DEFAULT_HNSW = pb.HnswConfigDiff(
    m=16, ef_construct=100, full_scan_threshold=10_000, max_indexing_threads=0, on_disk=False
)
DEFAULT_OPTIMIZERS = pb.OptimizersConfigDiff(
    deleted_threshold=0.2,
    vacuum_min_vector_number=1000,
    default_segment_number=0,
    indexing_threshold=10_000,
    flush_interval_sec=5,
)
WAL = pb.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0)

# What `get_collection` reports for a collection whose configuration cannot be read, since clients expect one.
UNKNOWN_CONFIG = pb.CollectionConfig(
    params=pb.CollectionParams(shard_number=1),
    hnsw_config=DEFAULT_HNSW,
    optimizer_config=DEFAULT_OPTIMIZERS,
    wal_config=WAL,
)


@dataclass(frozen=True, eq=False)
class Specification:
    """A collection's configuration. `request` is what the caller sent, the other fields are what applies.

    vectors: those that each point has, by name; a single one has the name UNNAMED.
    """

    request: pb.CreateCollection
    vectors: Mapping[str, pb.VectorParams]
    hnsw: pb.HnswConfigDiff
    optimizers: pb.OptimizersConfigDiff
    scalar: pb.ScalarQuantization | None

    @property
    def wants_index(self) -> bool:
        """Whether to index or quantize the vectors. Otherwise every search is a full scan."""
        return self.optimizers.indexing_threshold > 0 and (self.hnsw.m > 0 or self.scalar is not None)

    def config(self) -> pb.CollectionConfig:
        """Return the configuration as `get_collection` reports it."""
        config = pb.CollectionConfig(
            params=pb.CollectionParams(
                shard_number=1,
                replication_factor=1,
                write_consistency_factor=1,
                on_disk_payload=self.on_disk_payload,
                vectors_config=self.request.vectors_config,
            ),
            hnsw_config=self.hnsw,
            optimizer_config=self.optimizers,
            wal_config=WAL,
        )
        if self.scalar is not None:
            config.quantization_config.scalar.CopyFrom(self.scalar)
        return config

    @property
    def on_disk_payload(self) -> bool:
        """Whether payloads stay on disk, which is Qdrant's default."""
        return self.request.on_disk_payload if self.request.HasField("on_disk_payload") else True


def specify(request: pb.CreateCollection) -> Specification:
    """Return the specification of a creation request.

    Raises `StatusError`: INVALID_ARGUMENT for values out of range, UNIMPLEMENTED for unsupported features.
    """
    refuse_unsupported(request)
    _check_name(request.collection_name)
    for count in ("shard_number", "replication_factor"):
        if request.HasField(count) and getattr(request, count) != 1:
            raise unsupported(f"{count} other than 1")
    vectors = _vectors(request)
    # Named vectors share the configuration of the collection.
    alone = vectors.get(UNNAMED, pb.VectorParams())
    return Specification(
        request=request,
        vectors=vectors,
        hnsw=_hnsw(request, alone),
        optimizers=_optimizers(request),
        scalar=_scalar(request, alone),
    )


def _check_name(name: str) -> None:
    if not name or len(name.encode()) > MAX_NAME_BYTES:
        raise invalid(f"Collection name must have 1 to {MAX_NAME_BYTES} bytes")
    if name in {".", ".."} or FORBIDDEN_IN_NAMES & set(name):
        raise invalid('Collection name cannot be `.` or `..` or contain any of <>:"/\\|?* and control characters')


def _vectors(request: pb.CreateCollection) -> Mapping[str, pb.VectorParams]:
    config = request.vectors_config
    if config.WhichOneof("config") == "params":
        return {UNNAMED: _check_vector(config.params)}
    named = dict(config.params_map.map)
    if not named:
        raise invalid("vectors_config: no vectors given")
    for name, vector in named.items():
        if name == UNNAMED:
            raise invalid("vectors_config.params_map: a vector without a name")
        _check_vector(vector)
        for field in ("hnsw_config", "quantization_config"):
            if vector.HasField(field):
                raise unsupported(f"vectors_config.params_map.{name}.{field}: set it for the whole collection")
    return named


def _check_vector(vector: pb.VectorParams) -> pb.VectorParams:
    if not 1 <= vector.size <= MAX_VECTOR_SIZE:
        raise invalid(f"vectors_config.size: value {vector.size} invalid, must be from 1 to {MAX_VECTOR_SIZE}")
    if vector.distance not in {pb.Cosine, pb.Euclid, pb.Dot, pb.Manhattan}:
        raise invalid("vectors_config.distance: unknown distance")
    return vector


def _hnsw(request: pb.CreateCollection, vector: pb.VectorParams) -> pb.HnswConfigDiff:
    hnsw = pb.HnswConfigDiff()
    hnsw.CopyFrom(DEFAULT_HNSW)
    hnsw.MergeFrom(request.hnsw_config)
    hnsw.MergeFrom(vector.hnsw_config)
    _in_range("hnsw_config.ef_construct", hnsw.ef_construct, lambda value: value >= 4, "4 or larger")
    _in_range("hnsw_config.m", hnsw.m, lambda value: value <= 10_000, "at most 10000")
    return hnsw


def _optimizers(request: pb.CreateCollection) -> pb.OptimizersConfigDiff:
    optimizers = pb.OptimizersConfigDiff()
    optimizers.CopyFrom(DEFAULT_OPTIMIZERS)
    optimizers.MergeFrom(request.optimizers_config)
    _in_range(
        "optimizers_config.deleted_threshold",
        optimizers.deleted_threshold,
        lambda value: 0.0 <= value <= 1.0,
        "from 0.0 to 1.0",
    )
    return optimizers


def _scalar(request: pb.CreateCollection, vector: pb.VectorParams) -> pb.ScalarQuantization | None:
    chosen = vector if vector.HasField("quantization_config") else request
    if not chosen.HasField("quantization_config"):
        return None
    if chosen.quantization_config.WhichOneof("quantization") != "scalar":
        raise invalid("quantization_config: no quantization given")
    scalar = chosen.quantization_config.scalar
    if scalar.type != pb.Int8:
        raise invalid("quantization_config.scalar.type: must be Int8")
    if scalar.HasField("quantile"):
        _in_range(
            "quantization_config.scalar.quantile",
            scalar.quantile,
            lambda value: 0.5 <= value <= 1.0,
            "from 0.5 to 1.0",
        )
    return scalar


def _in_range(name: str, value: float, holds: Callable[[float], bool], range_in_words: str) -> None:
    if not holds(value):
        raise invalid(f"{name}: value {value} invalid, must be {range_in_words}")
