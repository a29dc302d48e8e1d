"""The stores that the catalog stands on."""

from tests.integration.stores import postgres_url, qdrant_address, workplace

__all__ = ["postgres_url", "qdrant_address", "workplace"]
