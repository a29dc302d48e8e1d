"""Qdrant's gRPC API: its messages and stubs, without the client library around them.

`import qdrant_client` loads an HTTP client and builds hundreds of model classes, which adds two seconds to every start.
The generated modules need none of that. They are loaded from the same folder as a separate package.
"""

import importlib
import importlib.util
import sys
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qdrant_client.grpc import (
        collections_pb2,
        collections_service_pb2,
        collections_service_pb2_grpc,
        json_with_int_pb2,
        points_pb2,
        points_service_pb2,
        points_service_pb2_grpc,
        qdrant_common_pb2,
        qdrant_pb2,
        qdrant_pb2_grpc,
    )
else:
    PACKAGE = f"{__name__}_generated"

    def _generated(module: str) -> types.ModuleType:
        if PACKAGE not in sys.modules:
            spec = importlib.util.find_spec("qdrant_client")
            if spec is None or not spec.submodule_search_locations:
                raise ImportError("qdrant-client is not installed")
            package = types.ModuleType(PACKAGE)
            package.__path__ = [f"{location}/grpc" for location in spec.submodule_search_locations]
            sys.modules[PACKAGE] = package
        return importlib.import_module(f"{PACKAGE}.{module}")

    json_with_int_pb2 = _generated("json_with_int_pb2")
    qdrant_common_pb2 = _generated("qdrant_common_pb2")
    collections_pb2 = _generated("collections_pb2")
    points_pb2 = _generated("points_pb2")
    collections_service_pb2 = _generated("collections_service_pb2")
    points_service_pb2 = _generated("points_service_pb2")
    qdrant_pb2 = _generated("qdrant_pb2")
    collections_service_pb2_grpc = _generated("collections_service_pb2_grpc")
    points_service_pb2_grpc = _generated("points_service_pb2_grpc")
    qdrant_pb2_grpc = _generated("qdrant_pb2_grpc")

__all__ = [
    "collections_pb2",
    "collections_service_pb2",
    "collections_service_pb2_grpc",
    "json_with_int_pb2",
    "points_pb2",
    "points_service_pb2",
    "points_service_pb2_grpc",
    "qdrant_common_pb2",
    "qdrant_pb2",
    "qdrant_pb2_grpc",
]
