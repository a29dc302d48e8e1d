"""Write `docs/configuration.md` from the settings classes: `python docs/configuration_reference.py [--check]`."""

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import get_args

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from catalog.settings import StoreSettings
from embedder.config import EmbedderSettings
from gateway.config import GatewaySettings
from servicekit.download.settings import DownloadSettings
from servicekit.settings import PREFIX, RpcServerSettings, RpcSettings, ServiceSettings
from standalone.config import StandaloneSettings
from trainer.config import TrainerSettings

FILE = Path(__file__).with_name("configuration.md")
SHARED: dict[str, tuple[str, type[ServiceSettings]]] = {
    "Every process": ("gateway, embedder, trainer, and `similis` itself", ServiceSettings),
    "gRPC": ("gateway, embedder, trainer", RpcSettings),
    "gRPC servers": ("embedder, trainer", RpcServerSettings),
    "Databases": ("gateway, trainer", StoreSettings),
    "Downloads of images": ("gateway, trainer", DownloadSettings),
}
OWN: dict[str, tuple[str, type[ServiceSettings]]] = {
    "Gateway": ("`python -m gateway`", GatewaySettings),
    "Embedder": ("`python -m embedder`", EmbedderSettings),
    "Trainer": ("`python -m trainer`", TrainerSettings),
    "One machine and command line": (
        "`similis up`, `similis keys`, `similis migrate`, `similis migrate-from`",
        StandaloneSettings,
    ),
}
HEAD = f"""# Configuration

<!-- Written by docs/configuration_reference.py from the settings classes. Change a description there: `make docs`. -->

Every setting is an environment variable. `{PREFIX}NAME_FILE` reads the value of `{PREFIX}NAME` from a file instead, so
that a secret need not be in the environment. A wrong value ends the process with exit status 78 and a line that names
the variable.

`similis up` passes its environment to the services it starts, and sets addresses, ports and data folders itself. On
Kubernetes the chart sets most of these; `<service>.settings` in its values takes the others.

Sizes are in bytes, times in seconds unless the name says otherwise.
"""
TABLE = "| variable | default | meaning |\n|---|---|---|\n"
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"))


def document() -> str:
    """Return the whole page."""
    parts = [HEAD]
    seen: set[str] = set()
    for title, (processes, kind) in {**SHARED, **OWN}.items():
        rows = list(_rows(kind, skip=seen))
        seen |= set(kind.model_fields) if title in SHARED else set()
        parts.append(
            f"## {title}\nRead by {processes}.\n\n| variable | default | meaning |\n|---|---|---|\n" + "".join(rows)
        )
    return "\n".join(parts)


def _rows(kind: type[ServiceSettings], skip: set[str]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        if name in skip and _same_as_shared(kind, name):
            continue
        if not field.description:
            raise SystemExit(f"{kind.__name__}.{name} has no description: write it below the field.")
        meaning = " ".join(field.description.split()) + _allowed(field)
        yield f"| `{PREFIX}{name.upper()}` | {_default(name, field)} | {meaning} |\n"


def _same_as_shared(kind: type[ServiceSettings], name: str) -> bool:
    shared = [base.model_fields[name] for _, base in SHARED.values() if name in base.model_fields]
    return all(field.default == kind.model_fields[name].default for field in shared)


def _default(name: str, field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "**required**"
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if name.endswith("_bytes"):
        for size, unit in UNITS:
            if value and value % size == 0:
                return f"`{value}` ({value // size} {unit})"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _allowed(field: FieldInfo) -> str:
    """Return the allowed range or values as a sentence, or nothing."""
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    if choices:
        return " Allowed: " + ", ".join(f"`{choice}`" for choice in choices) + "."
    if field.annotation is bool or field.annotation is SecretStr:
        return ""
    bounds = [item for item in field.metadata if isinstance(item, Ge | Gt | Le)]
    low = next((f"at least {item.ge:g}" for item in bounds if isinstance(item, Ge)), None)
    low = next((f"more than {item.gt:g}" for item in bounds if isinstance(item, Gt)), low)
    high = next((f"at most {item.le}" for item in bounds if isinstance(item, Le)), None)
    limits = [text for text in (low, high) if text]
    return f" Allowed: {', '.join(limits)}." if limits else ""


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` return 1 when it is out of date."""
    fresh = document()
    if "--check" in arguments:
        if FILE.exists() and FILE.read_text(encoding="utf-8") == fresh:
            return 0
        sys.stderr.write("docs/configuration.md is out of date: run 'make docs'.\n")
        return 1
    FILE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
