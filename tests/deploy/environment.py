"""The environment of a release's containers."""

from tests.deploy.chart import Document, Rendered


def container_environment(release: Rendered, container: Document) -> dict[str, str]:
    """Return the variables of a container that the release itself sets."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= release.one("ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {item["name"]: item["value"] for item in container.get("env", []) if "value" in item}


def main_container(deployment: Document) -> Document:
    """Return the service's own container."""
    containers: list[Document] = deployment["spec"]["template"]["spec"]["containers"]
    return containers[0]


def settings(release: Rendered, deployment: Document) -> dict[str, str]:
    """Return the environment of a Deployment's own container."""
    return container_environment(release, main_container(deployment))
