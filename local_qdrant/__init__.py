"""The one-machine Qdrant: Qdrant's embedded engine behind the part of Qdrant's gRPC API that `catalog` uses.

A router process speaks gRPC and holds no engine. Engine processes hold the collections, because the engine
keeps Python's interpreter lock while it works and dies with its process when the disk is full. The reasons and
figures are in `docs/decisions/0002-one-machine-qdrant.md`.
"""
