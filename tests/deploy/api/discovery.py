"""Discovery: what clients ask an API server about itself first."""

from tests.deploy.api.objects import RESOURCES, Object, Resource

VERSION = {"major": "1", "minor": "35", "gitVersion": "v1.35.0", "platform": "linux/amd64"}
VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def group_versions() -> list[str]:
    """Return all groups with their versions: "v1", "apps/v1", …"""
    return sorted({item.group_version for item in RESOURCES})


def base_path(group_version: str) -> str:
    """Return the path of a group."""
    return f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"


def documents() -> dict[str, Object]:
    """Return the responses by path."""
    found: dict[str, Object] = {
        "/version": VERSION,
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": _group_list(),
        "/openapi/v3": {
            "paths": {
                base_path(group).lstrip("/"): {"serverRelativeURL": f"/openapi/v3{base_path(group)}"}
                for group in group_versions()
            }
        },
    }
    for group in group_versions():
        served = [item for item in RESOURCES if item.group_version == group]
        found[base_path(group)] = _resource_list(group, served)
        found[f"/openapi/v3{base_path(group)}"] = _openapi(group, served)
    return found


def _group_list() -> Object:
    groups = []
    for group_version in group_versions():
        name, slash, version = group_version.partition("/")
        served = {"groupVersion": group_version, "version": version}
        if slash:
            groups.append({"name": name, "versions": [served], "preferredVersion": served})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _resource_list(group_version: str, resources: list[Resource]) -> Object:
    listed = [
        {"name": item.plural, "singularName": item.kind.lower(), "kind": item.kind, "namespaced": item.namespaced}
        | {"verbs": VERBS}
        for item in resources
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _openapi(group_version: str, resources: list[Resource]) -> Object:
    """Return a document that only states that the server validates fields, so that clients do not."""
    group, slash, version = group_version.partition("/")
    paths = {
        f"{base_path(group_version)}/{item.plural}/{{name}}": {
            "patch": {
                "x-kubernetes-group-version-kind": {
                    "group": group if slash else "",
                    "version": version if slash else group,
                    "kind": item.kind,
                },
                "parameters": [{"name": "fieldValidation", "in": "query"}],
                "responses": {},
            }
        }
        for item in resources
    }
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.35.0"}, "paths": paths}
