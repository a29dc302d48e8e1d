"""The objects of an in-memory API server, by kind, namespace and name, with a log of changes to watch."""

import asyncio
import base64
import copy
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """A kind of object and its path."""

    group_version: str
    kind: str
    plural: str
    namespaced: bool = True


RESOURCES = (
    Resource("v1", "ConfigMap", "configmaps"),
    Resource("v1", "Namespace", "namespaces", namespaced=False),
    Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Resource("v1", "Pod", "pods"),
    Resource("v1", "Secret", "secrets"),
    Resource("v1", "Service", "services"),
    Resource("v1", "ServiceAccount", "serviceaccounts"),
    Resource("apps/v1", "Deployment", "deployments"),
    Resource("apps/v1", "ReplicaSet", "replicasets"),
    Resource("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Resource("batch/v1", "CronJob", "cronjobs"),
    Resource("batch/v1", "Job", "jobs"),
    Resource("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    Resource("keda.sh/v1alpha1", "ScaledObject", "scaledobjects"),
    Resource("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
    Resource("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors"),
    Resource("networking.k8s.io/v1", "Ingress", "ingresses"),
    Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
)


class Missing(Exception):
    """The object does not exist."""


class Taken(Exception):
    """The object exists already."""


@dataclass(frozen=True)
class Event:
    """A change (ADDED, MODIFIED or DELETED) and the object after it, or before it if it was deleted."""

    kind: str
    type: str
    version: int
    object: Object


def matches(object_: Object, labels: str, fields: str) -> bool:
    """Return whether an object matches a labelSelector (equality only) and a fieldSelector on the name."""
    own: Mapping[str, str] = object_["metadata"].get("labels") or {}
    for term in filter(None, labels.split(",")):
        name, _, value = term.replace("==", "=").partition("=")
        if own.get(name.strip()) != value.strip():
            return False
    for term in filter(None, fields.split(",")):
        name, _, value = term.partition("=")
        if name == "metadata.name" and object_["metadata"]["name"] != value:
            return False
    return True


class Objects:
    """All objects and every change since the start."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._changed = asyncio.Condition()

    @property
    def version(self) -> int:
        """The resource version of the last change."""
        return len(self.events)

    def names(self, kind: str) -> set[str]:
        """Return the names of all objects of a kind."""
        return {name for found, _, name in self._objects if found == kind}

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """Return a copy of an object. Raises Missing."""
        try:
            return copy.deepcopy(self._objects[kind, namespace, name])
        except KeyError:
            raise Missing(name) from None

    def list(self, kind: str, namespace: str, labels: str = "", fields: str = "") -> list[Object]:
        """Return copies of the matching objects. An empty namespace means all namespaces."""
        return [
            copy.deepcopy(found)
            for (other, space, _), found in sorted(self._objects.items())
            if other == kind and namespace in ("", space) and matches(found, labels, fields)
        ]

    async def create(self, kind: str, namespace: str, object_: Object) -> Object:
        """Store a new object. Raises Taken."""
        metadata = object_["metadata"]
        if (kind, namespace, metadata["name"]) in self._objects:
            raise Taken(metadata["name"])
        if namespace:
            metadata["namespace"] = namespace
        metadata |= {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
        return await self._store(kind, namespace, object_, "ADDED")

    async def replace(self, kind: str, namespace: str, object_: Object) -> Object:
        """Replace the object with the same name. Raises Missing."""
        before = self.get(kind, namespace, object_["metadata"]["name"])
        metadata = object_["metadata"]
        for name in ("uid", "creationTimestamp", "namespace", "generation"):
            metadata[name] = before["metadata"].get(name)
        if object_.get("spec") != before.get("spec"):
            metadata["generation"] += 1
        object_.setdefault("status", before.get("status", {}))
        return await self._store(kind, namespace, object_, "MODIFIED")

    async def delete(self, kind: str, namespace: str, name: str) -> Object:
        """Delete an object and return its last state. Raises Missing."""
        gone = self.get(kind, namespace, name)
        del self._objects[kind, namespace, name]
        await self._publish(Event(kind, "DELETED", self.version + 1, gone))
        return gone

    async def watch(self, kind: str, since: int) -> AsyncIterator[Event]:
        """Yield the changes of a kind after a version, without end."""
        while True:
            for event in self.events[since:]:
                since = event.version
                if event.kind == kind:
                    yield event
            async with self._changed:
                await self._changed.wait_for(lambda: self.version > since)  # noqa: B023 - read at once

    async def _store(self, kind: str, namespace: str, object_: Object, change: str) -> Object:
        object_["metadata"]["resourceVersion"] = str(self.version + 1)
        if kind == "Secret":
            _encode(object_)
        self._objects[kind, namespace, object_["metadata"]["name"]] = copy.deepcopy(object_)
        await self._publish(Event(kind, change, self.version + 1, copy.deepcopy(object_)))
        return object_

    async def _publish(self, event: Event) -> None:
        self.events.append(event)
        async with self._changed:
            self._changed.notify_all()


def _encode(secret: Object) -> None:
    """Store the text of a Secret as base64, as the API server does."""
    for name, text in secret.pop("stringData", {}).items():
        secret.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode("ascii")
