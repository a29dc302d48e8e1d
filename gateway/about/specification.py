"""The machine-readable description of the API (OpenAPI), as it is served: YAML, JSON, and a page to read."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from gateway.about.reader import STYLE_HASH, reader_page
from gateway.http.asset import Asset

PATH = Path(__file__).with_name("openapi.yaml")
# libyaml is about ten times as fast, but not part of every build of PyYAML.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# The page has an inline style sheet, and nothing else that a browser would load or run.
PAGE_POLICY = (
    f"default-src 'none'; style-src '{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {"Content-Security-Policy": PAGE_POLICY, "Referrer-Policy": "no-referrer"}


@dataclass(frozen=True)
class Specification:
    """The specification in all its forms."""

    yaml: Asset
    json: Asset
    page: Asset


class LazySpecification:
    """Read the specification when it is first asked for. That takes about 0.2 s, which no start has to wait for."""

    def __init__(self) -> None:
        self._loaded: Specification | None = None
        self._loading = asyncio.Lock()

    async def get(self) -> Specification:
        """Return the specification."""
        async with self._loading:
            if self._loaded is None:
                self._loaded = await asyncio.to_thread(load_specification)
        return self._loaded


def load_specification() -> Specification:
    """Read the YAML file, and convert it to the other forms."""
    text = PATH.read_bytes()
    document = yaml.load(text, LOADER)  # noqa: S506 (both loaders are safe)
    return Specification(
        yaml=Asset.of(text, "application/yaml; charset=utf-8"),
        json=Asset.of(json.dumps(document, ensure_ascii=False).encode(), "application/json; charset=utf-8"),
        page=Asset.of(reader_page(document).encode(), "text/html; charset=utf-8"),
    )
