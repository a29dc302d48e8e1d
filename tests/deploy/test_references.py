"""What pods name is there: Secrets, volumes, files, claims, accounts."""

from collections.abc import Iterator
from typing import Any

from tests.deploy.chart import Document, PodSpec, Rendered, pods, rendered
from tests.deploy.environment import container_environment, main_container, settings

# What each row of the matrix expects to be there already.
EXPECTED_SECRETS = {
    *("similis-postgres", "postgres-ca", "qdrant-key", "qdrant", "similis-tls", "first-key", "pull", "more"),
    *("images-tls", "000", "007", "0x1", "123", "1e3", "456"),
}
EXPECTED_CONFIG_MAPS = {"qdrant-ca", "database-ca", "789"}
EXPECTED_ACCOUNTS = {"shared", "default", "1"}
EXPECTED_CLAIMS = {"models"}


def test_mounts_have_volumes_and_volumes_have_mounts(release: Rendered) -> None:
    for pod in pods(release):
        volumes = [volume["name"] for volume in pod.spec.get("volumes", [])]
        assert len(volumes) == len(set(volumes)), pod.owner
        mounted = [mount for container in pod.containers for mount in container.get("volumeMounts", [])]
        assert {mount["name"] for mount in mounted} == set(volumes), pod.owner
        for container in pod.containers:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            assert len(paths) == len(set(paths)), (pod.owner, container["name"])


def test_settings_name_files_that_are_mounted(release: Rendered) -> None:
    for pod in pods(release):
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        for container in pod.containers:
            files = {
                f"{mount['mountPath']}/{item['path']}"
                for mount in container.get("volumeMounts", [])
                for item in _items(volumes[mount["name"]])
            }
            if container["name"] == "prefetch":
                # It neither listens nor calls, so it is not given the certificates that its settings name.
                continue
            for name, value in container_environment(release, container).items():
                if name.startswith("SIMILIS_") and name.endswith("_FILE"):
                    assert value in files, (pod.owner, name, value)
            paths = [argument for argument in container.get("args", []) if argument.startswith("/etc/")]
            assert set(paths) <= files, (pod.owner, paths)


def test_folders_that_are_written_are_writable(release: Rendered) -> None:
    for deployment in release.of("Deployment"):
        mounts = main_container(deployment)["volumeMounts"]
        writable = {mount["mountPath"] for mount in mounts if not mount.get("readOnly")}
        assert "/tmp" in writable
        environment = settings(release, deployment)
        for name in ("SIMILIS_SPOOL_DIRECTORY", "SIMILIS_MODEL_CACHE", "HF_HOME"):
            folder = environment.get(name)
            assert folder is None or any(f"{folder}/".startswith(f"{path}/") for path in writable), name


def test_names_are_of_objects_that_are_there_or_the_operators(release: Rendered) -> None:
    made = {kind: {document["metadata"]["name"] for document in release.of(kind)} for kind in _KINDS}
    expected = {
        "Secret": EXPECTED_SECRETS,
        "ConfigMap": EXPECTED_CONFIG_MAPS,
        "ServiceAccount": EXPECTED_ACCOUNTS,
        "PersistentVolumeClaim": EXPECTED_CLAIMS,
    }
    for pod in pods(release):
        for kind, name in _named(pod):
            assert name in made[kind] | expected[kind], (pod.owner, kind, name)


def test_a_hook_that_runs_first_needs_nothing_of_the_release() -> None:
    for name in ("minimal", "full"):
        release = rendered(name)
        hooks = [document for document in release.documents if "helm.sh/hook" in _annotations(document)]
        first = [document for document in hooks if "pre-install" in _annotations(document)["helm.sh/hook"]]
        made = {kind: {item["metadata"]["name"] for item in first if item["kind"] == kind} for kind in _KINDS}
        later = {
            (document["kind"], document["metadata"]["name"]) for document in release.documents if document not in first
        }
        (job,) = (pod for pod in pods(release) if pod.owner.startswith("Job/"))
        for kind, named in _named(job):
            assert (kind, named) not in later
            assert named in made[kind] | EXPECTED_SECRETS


_KINDS = ("Secret", "ConfigMap", "ServiceAccount", "PersistentVolumeClaim")


def _annotations(document: Document) -> dict[str, str]:
    annotations: dict[str, str] = document["metadata"].get("annotations", {})
    return annotations


def _items(volume: Document) -> list[Document]:
    source = volume.get("secret") or volume.get("configMap") or {}
    items: list[Document] = source.get("items", [])
    return items


def _named(pod: PodSpec) -> Iterator[tuple[str, str]]:
    """Kind and name of everything that the pod cannot start without."""
    yield "ServiceAccount", pod.spec["serviceAccountName"]
    for secret in pod.spec.get("imagePullSecrets", []):
        yield "Secret", secret["name"]
    for volume in pod.spec.get("volumes", []):
        yield from _named_by_volume(volume)
    for container in pod.containers:
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                yield "ConfigMap", source["configMapRef"]["name"]
            if "secretRef" in source:
                yield "Secret", source["secretRef"]["name"]


def _named_by_volume(volume: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "secret" in volume:
        yield "Secret", volume["secret"]["secretName"]
    if "configMap" in volume:
        yield "ConfigMap", volume["configMap"]["name"]
    if "persistentVolumeClaim" in volume:
        yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
