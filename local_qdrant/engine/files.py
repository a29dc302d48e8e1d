"""The engine's files of one collection: created on first use, opened with the collection's configuration."""

import shutil
from pathlib import Path

import qdrant_edge as edge

from local_qdrant.protocol.specification import Specification
from servicekit.qdrant_api import collections_pb2

DISTANCES = {
    collections_pb2.Cosine: edge.Distance.Cosine,
    collections_pb2.Euclid: edge.Distance.Euclid,
    collections_pb2.Dot: edge.Distance.Dot,
    collections_pb2.Manhattan: edge.Distance.Manhattan,
}


def open_engine(path: Path, specification: Specification, indexing_threads: int) -> edge.EdgeShard:
    """Open the files, and create them when there are none. The engine's own errors pass through."""
    config = _engine_config(specification, indexing_threads)
    if not path.exists():
        _create(path, config)
    return edge.EdgeShard.load(str(path), config)


def _create(path: Path, config: edge.EdgeConfig) -> None:
    """Create the engine's files: all of them, or none."""
    unfinished = path.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    edge.EdgeShard.create(str(unfinished), config).close()
    unfinished.rename(path)


def _engine_config(specification: Specification, indexing_threads: int) -> edge.EdgeConfig:
    hnsw, optimizers, scalar = specification.hnsw, specification.optimizers, specification.scalar
    return edge.EdgeConfig(
        vectors={name: _vector(parameters) for name, parameters in specification.vectors.items()},
        on_disk_payload=specification.on_disk_payload,
        hnsw_config=edge.HnswIndexConfig(
            m=hnsw.m,
            ef_construct=hnsw.ef_construct,
            full_scan_threshold=hnsw.full_scan_threshold,
            max_indexing_threads=hnsw.max_indexing_threads or indexing_threads,
            on_disk=hnsw.on_disk,
        ),
        quantization_config=None
        if scalar is None
        else edge.ScalarQuantizationConfig(
            type=edge.ScalarType.Int8,
            quantile=scalar.quantile if scalar.HasField("quantile") else None,
            always_ram=scalar.always_ram if scalar.HasField("always_ram") else None,
        ),
        optimizers=edge.EdgeOptimizersConfig(
            deleted_threshold=optimizers.deleted_threshold,
            vacuum_min_vector_number=optimizers.vacuum_min_vector_number,
            default_segment_number=optimizers.default_segment_number,
            max_segment_size=optimizers.max_segment_size if optimizers.HasField("max_segment_size") else None,
            indexing_threshold=optimizers.indexing_threshold if specification.wants_index else 0,
        ),
        max_search_threads=1,
    )


def _vector(parameters: collections_pb2.VectorParams) -> edge.EdgeVectorParams:
    return edge.EdgeVectorParams(
        size=parameters.size, distance=DISTANCES[parameters.distance], on_disk=parameters.on_disk
    )
