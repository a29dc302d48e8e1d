"""The supported fields of Qdrant's messages. Requests that set any other field are refused."""

from collections.abc import Mapping

from google.protobuf.message import Message

from local_qdrant.protocol.status import unsupported

READ = ("collection_name", "timeout", "with_payload", "with_vectors")
WRITE = ("collection_name", "timeout", "wait", "points")
HNSW = ("m", "ef_construct", "full_scan_threshold", "max_indexing_threads", "on_disk")
OPTIMIZERS = (
    "deleted_threshold",
    "vacuum_min_vector_number",
    "default_segment_number",
    "max_segment_size",
    "indexing_threshold",
)

# The fields that may be set, by the full name of the message.
SUPPORTED: Mapping[str, frozenset[str]] = {
    f"qdrant.{message}": frozenset(fields)
    for message, fields in {
        "CreateCollection": (
            "collection_name",
            "timeout",
            "vectors_config",
            "hnsw_config",
            "optimizers_config",
            "quantization_config",
            "on_disk_payload",
            "shard_number",
            "replication_factor",
        ),
        "VectorsConfig": ("params", "params_map"),
        "VectorParamsMap": ("map",),
        "VectorParams": ("size", "distance", "on_disk", "hnsw_config", "quantization_config"),
        "HnswConfigDiff": HNSW,
        "OptimizersConfigDiff": OPTIMIZERS,
        "QuantizationConfig": ("scalar",),
        "ScalarQuantization": ("type", "quantile", "always_ram"),
        "DeleteCollection": ("collection_name", "timeout"),
        "GetCollectionInfoRequest": ("collection_name",),
        "CollectionExistsRequest": ("collection_name",),
        "ListCollectionsRequest": (),
        "HealthCheckRequest": (),
        "UpsertPoints": WRITE,
        "PointStruct": ("id", "payload", "vectors"),
        "Vectors": ("vector", "vectors"),
        "NamedVectors": ("vectors",),
        "Vector": ("data", "dense"),
        "DenseVector": ("data",),
        "PointId": ("num", "uuid"),
        "DeletePoints": WRITE,
        "PointsSelector": ("points",),
        "PointsIdsList": ("ids",),
        "GetPoints": (*READ, "ids"),
        "ScrollPoints": (*READ, "offset", "limit"),
        "CountPoints": ("collection_name", "timeout", "exact"),
        "QueryPoints": (*READ, "query", "using", "params", "score_threshold", "limit", "offset"),
        "Query": ("nearest",),
        "VectorInput": ("dense",),
        "SearchParams": ("hnsw_ef", "exact", "quantization", "indexed_only"),
        "QuantizationSearchParams": ("ignore", "rescore", "oversampling"),
        "WithPayloadSelector": ("enable", "include", "exclude"),
        "PayloadIncludeSelector": ("fields",),
        "PayloadExcludeSelector": ("fields",),
        "WithVectorsSelector": ("enable", "include"),
        "VectorsSelector": ("names",),
    }.items()
}
# Messages that may hold anything: payload values are JSON.
UNRESTRICTED = frozenset({"qdrant.PointStruct.PayloadEntry"})


def refuse_unsupported(message: Message, skip: frozenset[str] = frozenset()) -> None:
    """Raise `StatusError` (UNIMPLEMENTED) when a message, or one inside it, sets an unsupported field.

    The error names the first such field. Fields that are newer than our copy of the messages are refused too. The
    contents of the fields named in `skip` are not checked.
    """
    _refuse_unknown(message)
    _check(message, "", skip)


def _refuse_unknown(message: Message) -> None:
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        raise unsupported("a field that is newer than this server")


def _check(message: Message, path: str, skip: frozenset[str]) -> None:
    allowed = SUPPORTED.get(message.DESCRIPTOR.full_name)
    if allowed is None:
        raise unsupported(path or message.DESCRIPTOR.name)
    for field, value in message.ListFields():
        name = field.name
        if name not in allowed:
            raise unsupported(path + name)
        kind = field.message_type
        if kind is None or name in skip or kind.full_name in UNRESTRICTED:
            continue
        prefix = f"{path}{name}."
        if kind.GetOptions().map_entry:
            for key, item in value.items():
                _check(item, f"{prefix}{key}.", skip)
            continue
        if isinstance(value, Message):
            _check(value, prefix, skip)
            continue
        for item in value:
            _check(item, prefix, skip)
