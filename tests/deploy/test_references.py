"""Everything that pods refer to exists: Secrets, volumes, files, claims, accounts."""

from collections.abc import Iterator
from typing import Any

from tests.deploy.chart import Document, PodSpec, Rendered, pods, rendered
from tests.deploy.environment import container_environment, main_container, settings

# Objects that the sets of values expect to exist already.
EXPECTED_SECRETS = {
    *("similis-postgres", "postgres-ca", "qdrant-key", "qdrant", "similis-tls", "first-key", "pull", "more"),
    *("images-tls", "000", "007", "0x1", "123", "1e3", "456", "similis-first-key", "qdrant-read-only"),
}
EXPECTED_CONFIG_MAPS = {"qdrant-ca", "database-ca", "789"}
EXPECTED_ACCOUNTS = {"shared", "default", "1"}
EXPECTED_CLAIMS = {"models", "backups"}
# The default of `--timeout`.
HELM_TIMEOUT_SECONDS = 300


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
                # It neither listens nor calls, so it does not get the certificates that its settings name.
                continue
            for name, value in container_environment(release, container).items():
                if name.startswith("SIMILIS_") and name.endswith("_FILE"):
                    assert value in files, (pod.owner, name, value)
            paths = [argument for argument in container.get("args", []) if argument.startswith("/etc/")]
            assert set(paths) <= files, (pod.owner, paths)


def test_folders_for_writing_are_writable(release: Rendered) -> None:
    for deployment in release.of("Deployment"):
        mounts = main_container(deployment)["volumeMounts"]
        writable = {mount["mountPath"] for mount in mounts if not mount.get("readOnly")}
        assert "/tmp" in writable
        environment = settings(release, deployment)
        for name in ("SIMILIS_SPOOL_DIRECTORY", "SIMILIS_MODEL_CACHE", "HF_HOME"):
            folder = environment.get(name)
            assert folder is None or any(f"{folder}/".startswith(f"{path}/") for path in writable), name


def test_services_know_the_size_limit_of_the_volume_that_they_measure(release: Rendered) -> None:
    folders = {"gateway": "SIMILIS_SPOOL_DIRECTORY", "embedder": "SIMILIS_MODEL_CACHE", "trainer": None}
    for deployment in release.of("Deployment"):
        environment = settings(release, deployment)
        variable = folders[deployment["metadata"]["labels"]["app.kubernetes.io/component"]]
        folder = "/tmp" if variable is None else environment[variable]
        mounts = {mount["name"]: f"{mount['mountPath']}/" for mount in main_container(deployment)["volumeMounts"]}
        (volume,) = [
            volume
            for volume in deployment["spec"]["template"]["spec"]["volumes"]
            if f"{folder}/".startswith(mounts.get(volume["name"], "no path"))
        ]
        assert environment.get("SIMILIS_VOLUME_LIMIT") == volume.get("emptyDir", {}).get("sizeLimit")


def test_every_referenced_object_is_part_of_the_release_or_expected(release: Rendered) -> None:
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


def test_the_migration_hook_needs_no_object_of_the_release() -> None:
    for name in ("minimal", "full"):
        release = rendered(name)
        hooks = [document for document in release.documents if "helm.sh/hook" in _annotations(document)]
        first = [document for document in hooks if "pre-install" in _annotations(document)["helm.sh/hook"]]
        made = {kind: {item["metadata"]["name"] for item in first if item["kind"] == kind} for kind in _KINDS}
        later = {
            (document["kind"], document["metadata"]["name"]) for document in release.documents if document not in hooks
        }
        (job,) = (pod for pod in pods(release) if pod.owner.startswith("Job/"))
        for kind, named in _named(job):
            assert (kind, named) not in later
            assert named in made[kind] | EXPECTED_SECRETS


def test_the_gateway_gets_the_read_only_key_for_qdrant() -> None:
    for component, secret in {"gateway": "qdrant-read-only", "trainer": "qdrant-key"}.items():
        pod = rendered("full").one("Deployment", f"similis-{component}")["spec"]["template"]["spec"]
        (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "qdrant")
        assert volume["secret"]["secretName"] == secret
    # Without a read-only key, it gets the same key as the trainer.
    pod = rendered("external").one("Deployment", "similis-gateway")["spec"]["template"]["spec"]
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "qdrant")
    assert volume["secret"]["secretName"] == "qdrant"


def test_the_objects_of_the_migration_outlive_its_failure_and_go_after_a_success() -> None:
    """Helm deletes earlier hooks with the policy `hook-succeeded` as soon as a later one fails."""
    for kind in ("ServiceAccount", "NetworkPolicy"):
        before, after = (
            _annotations(document)
            for document in rendered("minimal").of(kind)
            if document["metadata"]["name"] == "similis-migrate"
        )
        if "post-install" in before["helm.sh/hook"]:
            before, after = after, before
        assert before["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert before["helm.sh/hook-delete-policy"] == "before-hook-creation"
        assert after["helm.sh/hook"] == "post-install,post-upgrade,post-delete"
        assert "hook-succeeded" in after["helm.sh/hook-delete-policy"]


def test_argo_cd_creates_extra_objects_then_migrates_then_creates_the_services() -> None:
    release = rendered("argocd")
    waves: dict[str, set[int]] = {}
    for document in release.documents:
        annotations = _annotations(document)
        if annotations.get("helm.sh/hook", "").startswith(("test", "post")):
            continue
        assert annotations.get("argocd.argoproj.io/hook", "Sync") == "Sync"
        wave = int(annotations.get("argocd.argoproj.io/sync-wave", "0"))
        waves.setdefault(document["kind"], set()).add(wave)
    assert max(waves["ExternalSecret"]) < min(waves["ServiceAccount"]) < min(waves["Job"])
    assert max(waves["Job"]) < min(waves["Deployment"])


def test_a_migration_beside_the_services_is_an_ordinary_job_of_the_release() -> None:
    release = rendered("minimal", "--set", "migrate.mode=job")
    (job,) = release.of("Job")
    assert job["metadata"]["name"] == "similis-migrate-1", (
        "its pod template cannot change, so each revision has its own"
    )
    for kind in ("Job", "ServiceAccount", "NetworkPolicy"):
        (found,) = (item for item in release.of(kind) if item["metadata"]["name"].startswith("similis-migrate"))
        assert "helm.sh/hook" not in _annotations(found)


def test_the_migration_ends_before_helm_gives_up() -> None:
    (job,) = rendered("minimal").of("Job")
    assert job["spec"]["activeDeadlineSeconds"] < HELM_TIMEOUT_SECONDS
    assert _annotations(job)["helm.sh/hook-output-log-policy"] == "hook-failed", "helm must show why it failed"
    for pod in rendered("minimal").of("Pod"):
        assert pod["spec"]["activeDeadlineSeconds"] < HELM_TIMEOUT_SECONDS


_KINDS = ("Secret", "ConfigMap", "ServiceAccount", "PersistentVolumeClaim")


def _annotations(document: Document) -> dict[str, str]:
    annotations: dict[str, str] = document["metadata"].get("annotations", {})
    return annotations


def _items(volume: Document) -> list[Document]:
    source = volume.get("secret") or volume.get("configMap") or {}
    items: list[Document] = source.get("items", [])
    return items


def _named(pod: PodSpec) -> Iterator[tuple[str, str]]:
    """Yield kind and name of everything that the pod cannot start without."""
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
