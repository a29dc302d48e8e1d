"""`docs/api.md` describes every route, every error code with its status, and the codes of finetunes and images."""

import ast
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from unittest.mock import Mock

from gateway.http.problems import CODE_OF_STATUS, STATUS_OF, status_of
from gateway.http.routes import about_routes, api_routes
from servicekit import errors
from servicekit.download.failures import Reason
from tests.packages import ROOT, modules, package_of, tree

DOCUMENT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
# The embedder's errors reach the API's clients too.
PACKAGES = ("gateway", "catalog", "servicekit", "embedder")
# Raised by code that answers no API request.
INTERNAL_CODES = {
    "index_incomplete",  # a finetune
    "job_not_found",  # benchmarks and tests
    "lease_lost",  # a finetune
    "qdrant_optimizer_failed",  # a finetune
    "stopping",  # /readyz shows the message only
    "trainer_unavailable",  # the metric of upstreams
    "weak_key",  # the command line
}
# Codes that are put together: by these functions from a parameter's name, and from an upstream's name.
NAMED_BY_PARAMETER = {"_invalid": 0, "_percent_or_rate": 0, "whole_number": 1, "boolean": 1, "choice": 1}
PATTERNS = ("invalid_{name}", "{upstream}_tls_failed", "{upstream}_unavailable")


def trees(packages: Collection[str] = PACKAGES) -> Iterator[tuple[Path, ast.Module]]:
    for path in modules():
        if package_of(path) in packages:
            yield path, tree(path)


def called(node: ast.AST) -> str:
    """Return the last name of what is called, or of a base class."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def codes_of_call(call: ast.Call) -> Iterator[str]:
    name = called(call.func)
    yield from (code for keyword in call.keywords if keyword.arg == "code" and (code := text(keyword.value)))
    if name == "ImageError" and call.args and (code := text(call.args[0])):
        yield code
    position = NAMED_BY_PARAMETER.get(name)
    if position is not None and len(call.args) > position and (parameter := text(call.args[position])):
        yield f"invalid_{parameter}"


@cache
def raised(packages: tuple[str, ...] = PACKAGES) -> tuple[tuple[str, str], ...]:
    """Return each code in the source, with the name of the error class that carries it."""
    return tuple(_raised(packages))


def _raised(packages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for _, module in trees(packages):
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                yield from ((code, called(node.func)) for code in codes_of_call(node))
            elif isinstance(node, ast.ClassDef):
                for line in node.body:
                    if isinstance(line, ast.Assign) and called(line.targets[0]) == "default_code":
                        code = text(line.value)
                        assert code is not None
                        yield code, node.name if hasattr(errors, node.name) else called(node.bases[0])


def documented() -> dict[str, int]:
    """Return the status of each code in the table."""
    rows = re.findall(r"^\| (`[a-z0-9_`, ]+`) \| ([0-9]{3}) \|", DOCUMENT, re.MULTILINE)
    return {code: int(status) for codes, status in rows for code in re.findall(r"[a-z0-9_]+", codes)}


def test_every_code_is_documented() -> None:
    codes = {code for code, _ in raised()} | set(CODE_OF_STATUS.values())
    assert len(codes) > 40
    assert codes - INTERNAL_CODES - set(documented()) == set()


def test_every_code_of_a_finetune_and_every_reason_of_an_image_is_documented() -> None:
    codes = {code for code, _ in raised(("trainer",))} | {"index_incomplete"} | {reason.value for reason in Reason}
    assert len(codes) > 20
    assert {code for code in codes if f"`{code}`" not in DOCUMENT} == set()


def test_every_documented_code_exists() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in modules() if package_of(path) in PACKAGES)
    composed = {code for code, _ in raised()} | {"embedder_tls_failed", "embedder_unavailable"}
    assert [code for code in documented() if code not in composed and f'"{code}"' not in sources] == []


def test_every_code_is_documented_with_its_status() -> None:
    statuses = documented()
    table = {kind.__name__: kind for kind in STATUS_OF}
    for code, kind in raised():
        if code in statuses and kind in table:
            assert statuses[code] == status_of(table[kind]("")), code
    for status, code in CODE_OF_STATUS.items():
        assert statuses[code] == status


def test_composed_codes_follow_a_known_pattern() -> None:
    """Other codes must be literals, so that the tests above can find them."""
    for path, module in trees():
        for node in ast.walk(module):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.JoinedStr):
                assert ast.unparse(node.value)[2:-1] in PATTERNS, path


def test_every_route_is_documented() -> None:
    routes = {f"{route.method} {route.path}" for route in api_routes(Mock(), request_seconds=1, upload_seconds=1)}
    routes |= {f"GET {path}" for path, _ in about_routes(Mock())}
    assert set(re.findall(r"^### ([A-Z]+ /api/\S+)$", DOCUMENT, re.MULTILINE)) == routes
