"""What a container of a release is told."""

from tests.deploy.chart import Document, Rendered


def container_environment(release: Rendered, container: Document) -> dict[str, str]:
    """The variables of a container that stand in the release."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= release.one("ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {item["name"]: item["value"] for item in container.get("env", []) if "value" in item}
