"""The controllers of a cluster: Deployments, Jobs and Pods start once everything that their pods refer to exists."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from tests.deploy.api.objects import Missing, Object, Objects

# Returns whether the containers of a Job or Pod, given by its name, succeed.
Outcome = Callable[[str], bool]

NEEDED = ("Secret", "ConfigMap", "ServiceAccount", "PersistentVolumeClaim")


class Controllers:
    """React to every change. `succeeds` decides how Jobs and single pods end."""

    def __init__(self, objects: Objects, succeeds: Outcome) -> None:
        self._objects = objects
        self._succeeds = succeeds

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind in ("Deployment", "Job", "Pod", "Service", *NEEDED):
                group.create_task(self._follow(kind))

    async def _follow(self, kind: str) -> None:
        async for event in self._objects.watch(kind, 0):
            if event.type != "DELETED":
                await self._settle()

    async def _settle(self) -> None:
        finished = {
            "Deployment": _rolled_out,
            "Job": self._done,
            "Pod": self._ended,
            "PersistentVolumeClaim": _bound,
            "Service": _addressed,
        }
        for kind, finish in finished.items():
            for listed in self._objects.list(kind, ""):
                metadata = listed["metadata"]
                # It may have changed or been deleted since it was listed.
                with contextlib.suppress(Missing):
                    object_ = self._objects.get(kind, metadata["namespace"], metadata["name"])
                    after = object_ | finish(object_)
                    if after != object_ and self._can_start(object_):
                        await self._objects.replace(kind, metadata["namespace"], after)

    def _can_start(self, object_: Object) -> bool:
        return all(name in self._objects.names(kind) for kind, name in _needed(object_))

    def _done(self, job: Object) -> Object:
        condition = "Complete" if self._succeeds(job["metadata"]["name"]) else "Failed"
        counts = {"succeeded": 1} if condition == "Complete" else {"failed": 1}
        conditions = [{"type": condition, "status": "True"}]
        return {"status": {"conditions": conditions, "startTime": "2026-01-01T00:00:00Z", **counts}}

    def _ended(self, pod: Object) -> Object:
        return {"status": {"phase": "Succeeded" if self._succeeds(pod["metadata"]["name"]) else "Failed"}}


def _bound(_: Object) -> Object:
    return {"status": {"phase": "Bound"}}


def _addressed(service: Object) -> Object:
    return {"spec": {"clusterIP": "10.96.0.7", **service["spec"]}}


def _rolled_out(deployment: Object) -> Object:
    wanted = deployment["spec"].get("replicas", 1)
    status = {
        "observedGeneration": deployment["metadata"]["generation"],
        **dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), wanted),
        "conditions": [
            {"type": "Available", "status": "True"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
        ],
    }
    return {"status": status}


def _needed(object_: Object) -> Iterator[tuple[str, str]]:
    """Yield kind and name of everything that the kubelet needs before it starts a container."""
    spec = object_["spec"] if object_["kind"] == "Pod" else object_["spec"].get("template", {}).get("spec")
    if spec is None:
        return
    yield "ServiceAccount", spec["serviceAccountName"]
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                yield "ConfigMap", source["configMapRef"]["name"]
