"""The documents name only settings, files, modules, make targets and headings that exist."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from embedder.config import EmbedderSettings
from gateway.config import GatewaySettings
from standalone.config import StandaloneSettings
from tests.packages import NAMES, ROOT
from trainer.config import TrainerSettings

# The changelog may name what a release removed.
DOCUMENTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        *(ROOT / "client").rglob("*.md"),
    ]
)
SETTINGS = (GatewaySettings, EmbedderSettings, TrainerSettings, StandaloneSettings)
COMPOSE = ROOT / "deploy" / "docker" / "docker-compose.yaml"
# `similis` is in `proto`, and a prefix of image names. `similis_client` and `similis_cli` are in `client`.
FOLDERS = ({"bench", "client", "demo", "deploy", "docs", "proto", "tests"} | NAMES) - {
    "similis",
    "similis_client",
    "similis_cli",
}
# A placeholder, a variable that tests read, and those of the client's command line.
OTHER_VARIABLES = {
    "SIMILIS_NAME",
    "SIMILIS_NAME_FILE",
    "SIMILIS_TEST_QDRANT",
    "SIMILIS_CHAOS_SCALE",
    "SIMILIS_API_KEY",
    "SIMILIS_URL",
}
# Files of a backbone, and the Kubernetes name of a deployment.
FOREIGN = {"preprocessor_config.json", "tokenizer.json", "deploy/similis-gateway", "deployment/similis-gateway"}
SUFFIXES = "json|md|proto|py|sh|sql|toml|tpl|txt|yaml"

every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=[str(document.relative_to(ROOT)) for document in DOCUMENTS]
)


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub and GitLab create them."""
    found = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def words_in_code(text: str) -> set[str]:
    """Return the words in the code spans and code blocks of a document, without punctuation around them."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", text)
    return {word.strip(".,;:()\"'[]").partition("::")[0] for part in [*blocks, *spans] for word in part.split()}


@cache
def file_names() -> frozenset[str]:
    """Return the names, without folders, of the files in this repository."""
    return frozenset(path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")) | frozenset(
        path.name for path in ROOT.iterdir()
    )


def missing_files(text: str) -> set[str]:
    """Return the paths and file names in code that do not exist in this repository."""
    words = {word for word in words_in_code(text) if re.fullmatch(r"[\w.*-]+(/[\w.*-]+)*/?", word)} - FOREIGN
    paths = {word for word in words if "/" in word and word.partition("/")[0] in FOLDERS}
    names = {word for word in words if re.fullmatch(rf"[\w-]+\.({SUFFIXES})", word)}
    return {path for path in paths if not any(ROOT.glob(path))} | (names - file_names())


def missing_modules(text: str) -> set[str]:
    """Return the modules that `python -m` could not run."""
    modules = {module.rstrip(".") for module in re.findall(r"python3? -m ([\w.]+)", text)}
    return {module for module in modules if find_spec(module) is None}


@every_document
def test_every_setting_exists(document: Path) -> None:
    known = {f"SIMILIS_{name.upper()}" for settings in SETTINGS for name in settings.model_fields}
    # Secrets can be in files, and the compose file has its own variables.
    known |= {f"{name}_FILE" for name in known} | set(re.findall(r"SIMILIS_\w+", COMPOSE.read_text(encoding="utf-8")))
    named = set(re.findall(r"SIMILIS_[A-Z_]+[A-Z]\b", document.read_text(encoding="utf-8")))
    assert named - known == OTHER_VARIABLES & named


@every_document
def test_every_link_has_a_target(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", document.read_text(encoding="utf-8"))
    for path, anchor in links:
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), (path, anchor)


@every_document
def test_every_file_exists(document: Path) -> None:
    assert missing_files(document.read_text(encoding="utf-8")) == set()


@every_document
def test_every_module_that_python_runs_exists(document: Path) -> None:
    assert missing_modules(document.read_text(encoding="utf-8")) == set()


@every_document
def test_every_make_target_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|&& )make ([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE))
    assert named - targets == set()


def test_wrong_names_are_found() -> None:
    text = "Run `python -m gatewy`, or see `gateway/missing.py` and `absent.py`. `python -m gateway`, `gateway/app.py`."
    assert missing_files(text) == {"gateway/missing.py", "absent.py"}
    assert missing_modules(text) == {"gatewy"}
