"""The handbook's commands around the CronJob for backups, on a real API server."""

import os
import subprocess

from tests.deploy.chart import CHART, KUBECTL, values_file
from tests.deploy.cluster.kubernetes import Namespace
from tests.e2e.machine.handbook import block

INSTALL = (
    str(CHART),
    "-f",
    str(values_file("minimal")),
    "--set",
    "apiKey.enabled=false",
    "--set",
    "backup.enabled=true",
)


def run(namespace: Namespace, script: str) -> str:
    """Run a script of the handbook, with the namespace as the default. Raises AssertionError if it fails."""
    function = f'kubectl() {{ "{KUBECTL}" --namespace={namespace.name} "$@"; }}\n'
    done = subprocess.run(
        ["/bin/bash", "-eo", "pipefail", "-c", function + script],
        env={"PATH": os.environ["PATH"], "KUBECONFIG": os.environ["KUBECONFIG"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_logs(script: str) -> str:
    """Return a script without the lines that follow a pod's log: there are no nodes to run it."""
    return "".join(line for line in script.splitlines(keepends=True) if not line.startswith("kubectl logs"))


def test_the_handbook_starts_a_backup_and_a_restore(namespace: Namespace) -> None:
    namespace.helm("install", "similis", *INSTALL, "--no-hooks")
    run(namespace, without_logs(block("create job first-backup")))
    (container,) = namespace.get("job", "first-backup")["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["similis", "backup", "/backup", "--servers", "--keep", "7"]
    run(namespace, without_logs(block("create job restore")))
    job = namespace.get("job", "restore")["spec"]
    assert job["backoffLimit"] == 0
    (container,) = job["template"]["spec"]["containers"]
    assert container["args"] == ["similis", "restore", "/backup/2026-11-29T02-00-00Z", "--servers"]
    assert namespace.get("cronjob", "similis-backup")["spec"]["suspend"] is True
    # A release that makes no backups any more, or is gone, leaves the backups.
    namespace.helm("upgrade", "similis", *INSTALL, "--no-hooks", "--set", "backup.enabled=false")
    assert namespace.get("pvc", "similis-backup")["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_a_claim_that_cannot_change_is_refused_before_an_upgrade(namespace: Namespace) -> None:
    namespace.helm("install", "similis", *INSTALL, "--no-hooks")
    refused = namespace.try_helm(
        *("upgrade", "similis", *INSTALL, "--no-hooks", "--set", "backup.persistence.accessModes={ReadWriteMany}")
    )
    assert refused.returncode != 0
    assert "backup.persistence.accessModes is" in refused.stderr
    assert "existingClaim" in refused.stderr
