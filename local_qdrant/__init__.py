"""Qdrant for one machine: Qdrant's embedded engine behind the part of Qdrant's gRPC API that `catalog` uses.

A router process speaks gRPC and opens no collection itself. Engine processes open the collections, because the engine
holds Python's interpreter lock while it works, and a full disk kills its process. The reasons and figures are in
`docs/decisions/0002-one-machine-qdrant.md`.
"""
