"""The part of the Kubernetes HTTP API that helm needs, on objects in memory.

It covers discovery, create, read, list, watch, replace, patch and delete. Server-side apply replaces the whole object,
because helm is the only manager here. Other tests check objects against their schemas.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import yaml
from aiohttp import web

from tests.deploy.api.discovery import base_path, documents
from tests.deploy.api.objects import RESOURCES, Missing, Object, Objects, Resource, Taken, matches
from tests.deploy.api.protobuf import MAGIC, read_secret

# The log of every pod.
POD_LOG = "the migration failed because the disk is full"


class ApiServer:
    """The routes of the API."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.application = web.Application(middlewares=[_statuses])
        router = self.application.router
        for path, document in documents().items():
            router.add_get(path, _shown(document))
        for item in RESOURCES:
            self._serve(base_path(item.group_version), item)
        router.add_get("/api/v1/namespaces/{namespace}/pods/{name}/log", _pod_log)

    def _serve(self, base: str, resource: Resource) -> None:
        paths = [f"{base}/namespaces/{{namespace}}/{resource.plural}"] if resource.namespaced else []
        router = self.application.router
        for path in [*paths, f"{base}/{resource.plural}"]:
            router.add_get(path, self._listing(resource))
            router.add_post(path, self._creation(resource))
            router.add_get(f"{path}/{{name}}", self._reading(resource))
            router.add_put(f"{path}/{{name}}", self._replacement(resource))
            router.add_patch(f"{path}/{{name}}", self._patch(resource))
            router.add_delete(f"{path}/{{name}}", self._deletion(resource))

    def _listing(self, resource: Resource) -> Any:
        async def answer(request: web.Request) -> web.StreamResponse:
            query = request.query
            if query.get("watch") in ("true", "1"):
                return await self._watched(resource, request)
            namespace = request.match_info.get("namespace", "")
            labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
            items = self._objects.list(resource.kind, namespace, labels, fields)
            metadata = {"resourceVersion": str(self._objects.version)}
            answered = {"apiVersion": resource.group_version, "kind": f"{resource.kind}List", "items": items}
            return web.json_response(answered | {"metadata": metadata})

        return answer

    async def _watched(self, resource: Resource, request: web.Request) -> web.StreamResponse:
        query = request.query
        namespace = request.match_info.get("namespace", "")
        selectors = query.get("labelSelector", ""), query.get("fieldSelector", "")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)

        async def send(change: str, object_: Object) -> None:
            await response.write(json.dumps({"type": change, "object": object_}).encode() + b"\n")

        since = int(query.get("resourceVersion") or self._objects.version)
        if query.get("sendInitialEvents") == "true":
            since = self._objects.version
            for object_ in self._objects.list(resource.kind, namespace, *selectors):
                await send("ADDED", object_)
            metadata = {"resourceVersion": str(since), "annotations": {"k8s.io/initial-events-end": "true"}}
            mark = {"apiVersion": resource.group_version, "kind": resource.kind, "metadata": metadata}
            await send("BOOKMARK", mark)
        async for event in self._objects.watch(resource.kind, since):
            metadata = event.object["metadata"] | {"resourceVersion": str(event.version)}
            if namespace in ("", metadata.get("namespace")) and matches(event.object, *selectors):
                await send(event.type, event.object | {"metadata": metadata})
        return response

    def _creation(self, resource: Resource) -> Any:
        async def answer(request: web.Request) -> web.Response:
            object_ = await _body(request)
            if "dryRun" in request.query:
                return web.json_response(object_, status=201)
            namespace = request.match_info.get("namespace", "")
            return web.json_response(await self._objects.create(resource.kind, namespace, object_), status=201)

        return answer

    def _reading(self, resource: Resource) -> Any:
        async def answer(request: web.Request) -> web.Response:
            return web.json_response(self._objects.get(resource.kind, *_place(request)))

        return answer

    def _replacement(self, resource: Resource) -> Any:
        async def answer(request: web.Request) -> web.Response:
            namespace, _ = _place(request)
            return web.json_response(await self._objects.replace(resource.kind, namespace, await _body(request)))

        return answer

    def _patch(self, resource: Resource) -> Any:
        async def answer(request: web.Request) -> web.Response:
            namespace, name = _place(request)
            patch = await _body(request)
            applied = request.content_type == "application/apply-patch+yaml"
            try:
                before = self._objects.get(resource.kind, namespace, name)
            except Missing:
                if not applied:
                    raise
                if "dryRun" in request.query:
                    return web.json_response(patch, status=201)
                return web.json_response(await self._objects.create(resource.kind, namespace, patch), status=201)
            after = patch if applied else _merged(before, patch)
            if "dryRun" in request.query:
                return web.json_response(after)
            return web.json_response(await self._objects.replace(resource.kind, namespace, after))

        return answer

    def _deletion(self, resource: Resource) -> Any:
        async def answer(request: web.Request) -> web.Response:
            return web.json_response(await self._objects.delete(resource.kind, *_place(request)))

        return answer


@asynccontextmanager
async def serving(server: ApiServer) -> AsyncIterator[str]:
    """Serve on a free loopback port while entered. Yields the URL."""
    runner = web.AppRunner(server.application, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@web.middleware
async def _statuses(request: web.Request, handler: Any) -> web.StreamResponse:
    """Convert errors into Kubernetes' Status objects."""
    try:
        answered: web.StreamResponse = await handler(request)
    except Missing as error:
        return _status(404, "NotFound", f'"{error}" not found')
    except Taken as error:
        return _status(409, "AlreadyExists", f'"{error}" already exists')
    except web.HTTPNotFound:
        return _status(404, "NotFound", f"the server could not find {request.path}")
    return answered


def _status(code: int, reason: str, message: str) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    return web.json_response(status | {"message": message}, status=code)


def _shown(document: Object) -> Any:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document)

    return answer


async def _pod_log(_: web.Request) -> web.Response:
    return web.Response(text=POD_LOG)


def _place(request: web.Request) -> tuple[str, str]:
    return request.match_info.get("namespace", ""), request.match_info["name"]


async def _body(request: web.Request) -> Object:
    body = await request.read()
    if body.startswith(MAGIC):
        return read_secret(body)
    # Server-side apply sends YAML, and JSON is a subset of YAML.
    read: Object = yaml.load(body, yaml.CSafeLoader)
    return read


def _merged(before: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396)."""
    if not isinstance(before, dict) or not isinstance(patch, dict):
        return patch
    merged = dict(before)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
