"""One open collection: runs requests in Qdrant's messages on the engine."""

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import qdrant_edge as edge

from local_qdrant.engine.files import open_engine
from local_qdrant.engine.parameters import limit_of, search_params, with_payload
from local_qdrant.protocol import payload as convert
from local_qdrant.protocol.specification import UNNAMED, Specification
from local_qdrant.protocol.status import invalid, unsupported
from local_qdrant.protocol.support import refuse_unsupported
from local_qdrant.protocol.wire import Counts
from servicekit.process.fault_points import FaultPoint
from servicekit.qdrant_api import points_pb2

# The vectors of one response take at most this much, so that a large page cannot exhaust memory.
MAX_VECTOR_BYTES = 64 * 2**20


class Shard:
    """A collection that this process has open. It is not thread-safe, and every method blocks."""

    def __init__(self, path: Path, specification: Specification, indexing_threads: int) -> None:
        """Open the engine's files, and create them on first use. The engine's own errors pass through."""
        self._sizes = {name: int(vector.size) for name, vector in specification.vectors.items()}
        self._engine = open_engine(path, specification, indexing_threads)

    def counts(self) -> Counts:
        """Return the number of points, indexed vectors and segments."""
        info = self._engine.info()
        return Counts(info.points_count, info.indexed_vectors_count, info.segments_count)

    def settle(self) -> None:
        """Build the index, then flush everything to disk."""
        self._engine.optimize()
        self._engine.flush()
        FaultPoint.GRAPH_BUILT.reach()

    def close(self) -> None:
        """Flush and close the files."""
        self._engine.flush()
        self._engine.close()

    def upsert(self, body: bytes) -> bytes:
        """Answer an `UpsertPoints`: write all of its points, or none."""
        request = points_pb2.UpsertPoints.FromString(body)
        refuse_unsupported(request)
        started = time.perf_counter()
        points = [
            edge.Point(
                convert.from_point_id(point.id), self._vectors(point), convert.from_payload(point.payload) or None
            )
            for point in request.points
        ]
        if points:
            self._engine.update(edge.UpdateOperation.upsert_points(points))
            FaultPoint.POINTS_WRITTEN.reach()
        return _written(request.wait, started)

    def delete(self, body: bytes) -> bytes:
        """Answer a `DeletePoints`."""
        request = points_pb2.DeletePoints.FromString(body)
        refuse_unsupported(request)
        started = time.perf_counter()
        if not request.HasField("points"):
            raise invalid("No points selector provided")
        ids = [convert.from_point_id(point_id) for point_id in request.points.points.ids]
        if ids:
            self._engine.update(edge.UpdateOperation.delete_points(ids))
        return _written(request.wait, started)

    def query(self, body: bytes) -> bytes:
        """Answer a `QueryPoints` with the nearest points, best first."""
        request = points_pb2.QueryPoints.FromString(body)
        refuse_unsupported(request)
        started = time.perf_counter()
        limit = limit_of(request)
        with_vectors = self._with_vectors(request, limit)
        found = self._engine.query(
            edge.QueryRequest(
                limit=limit,
                offset=request.offset,
                query=edge.Query.Nearest(self._query_vector(request), request.using or None),
                score_threshold=request.score_threshold if request.HasField("score_threshold") else None,
                params=search_params(request.params) if request.HasField("params") else None,
                with_payload=with_payload(request.with_payload),
                with_vector=with_vectors,
            )
        )
        response = points_pb2.QueryResponse()
        for hit in found:
            scored = response.result.add(score=hit.score, version=hit.version)
            _fill(scored, hit)
        response.time = time.perf_counter() - started
        return response.SerializeToString()

    def get(self, body: bytes) -> bytes:
        """Answer a `GetPoints` with those of the requested points that exist."""
        request = points_pb2.GetPoints.FromString(body)
        refuse_unsupported(request)
        started = time.perf_counter()
        ids = [convert.from_point_id(point_id) for point_id in request.ids]
        with_vectors = self._with_vectors(request, len(ids))
        records = (
            self._engine.retrieve(ids, with_payload=with_payload(request.with_payload), with_vector=with_vectors)
            if ids
            else []
        )
        response = points_pb2.GetResponse()
        for record in records:
            _fill(response.result.add(), record)
        response.time = time.perf_counter() - started
        return response.SerializeToString()

    def scroll(self, body: bytes) -> bytes:
        """Answer a `ScrollPoints` with a page of points in the order of their ids, and where the next page starts."""
        request = points_pb2.ScrollPoints.FromString(body)
        refuse_unsupported(request)
        started = time.perf_counter()
        limit = limit_of(request)
        with_vectors = self._with_vectors(request, limit)
        records, following = self._engine.scroll(
            edge.ScrollRequest(
                offset=convert.from_point_id(request.offset) if request.HasField("offset") else None,
                limit=limit,
                with_payload=with_payload(request.with_payload),
                with_vector=with_vectors,
            )
        )
        response = points_pb2.ScrollResponse()
        for record in records:
            _fill(response.result.add(), record)
        if following is not None:
            convert.set_point_id(response.next_page_offset, following)
        response.time = time.perf_counter() - started
        return response.SerializeToString()

    def count(self, body: bytes) -> bytes:
        """Answer a `CountPoints`."""
        request = points_pb2.CountPoints.FromString(body)
        refuse_unsupported(request)
        started = time.perf_counter()
        exact = request.exact if request.HasField("exact") else True
        number = self._engine.count(edge.CountRequest(exact=exact))
        response = points_pb2.CountResponse(result=points_pb2.CountResult(count=number))
        response.time = time.perf_counter() - started
        return response.SerializeToString()

    def _vectors(self, point: points_pb2.PointStruct) -> dict[str, "edge.NamedVector"]:
        """Return the vectors of a point, by name. It must have all that the collection has."""
        kind = point.vectors.WhichOneof("vectors_options")
        if kind is None:
            raise invalid("Expected some vectors")
        given = {UNNAMED: point.vectors.vector} if kind == "vector" else dict(point.vectors.vectors.vectors)
        for name in given:
            self._check_name(name)
        if missing := [name for name in self._sizes if name not in given]:
            raise unsupported(f"points without the vector {missing[0]}")
        return {
            name: self._checked(name, vector.dense.data if vector.HasField("dense") else vector.data)
            for name, vector in given.items()
        }

    def _check_name(self, name: str) -> None:
        if name not in self._sizes:
            raise invalid(f"Not existing vector name error: {name}")

    def _query_vector(self, request: points_pb2.QueryPoints) -> list[float]:
        if request.query.WhichOneof("variant") != "nearest":
            raise unsupported("a query that is not a vector")
        if request.query.nearest.WhichOneof("variant") != "dense":
            raise unsupported("a query that is not a dense vector")
        self._check_name(request.using)
        return self._checked(request.using, request.query.nearest.dense.data)

    def _checked(self, name: str, data: Iterable[float]) -> list[float]:
        vector = list(data)
        if len(vector) != self._sizes[name]:
            raise invalid(f"Vector dimension error: expected dim: {self._sizes[name]}, got {len(vector)}")
        if not math.isfinite(sum(vector)):
            raise invalid("Vector contains a value that is not a finite number")
        return vector

    def _with_vectors(
        self, request: points_pb2.QueryPoints | points_pb2.GetPoints | points_pb2.ScrollPoints, limit: int
    ) -> bool | list[str]:
        """Return which vectors to return: none, all, or those with the names."""
        names = list(request.with_vectors.include.names)
        for name in names:
            self._check_name(name)
        if not names and not request.with_vectors.enable:
            return False
        size = sum(size for name, size in self._sizes.items() if not names or name in names)
        if min(limit, self._engine.info().points_count) * size * 4 > MAX_VECTOR_BYTES:
            raise invalid(f"with_vectors: {limit} vectors do not fit into one response; ask for fewer at a time")
        return names or True


def _fill(target: points_pb2.ScoredPoint | points_pb2.RetrievedPoint, record: "edge.ScoredPoint | edge.Record") -> None:
    convert.set_point_id(target.id, record.id)
    for key, value in (record.payload or {}).items():
        convert.set_value(target.payload[key], value)
    if isinstance(record.vector, dict):
        for name, vector in record.vector.items():
            target.vectors.vectors.vectors[name].dense.data.extend(cast(list[float], vector))
    elif record.vector is not None:
        target.vectors.vector.dense.data.extend(cast(list[float], record.vector))


def _written(wait: bool, started: float) -> bytes:
    status = points_pb2.Completed if wait else points_pb2.Acknowledged
    return points_pb2.PointsOperationResponse(
        result=points_pb2.UpdateResult(status=status), time=time.perf_counter() - started
    ).SerializeToString()
