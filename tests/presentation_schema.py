"""Whether a manifest of results is valid: by a schema of the part of IIIF Presentation 3.0 that such manifests use."""

import json
from pathlib import Path

from jsonschema import Draft202012Validator

SCHEMA = json.loads(Path(__file__).with_name("presentation_3.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def assert_valid(manifest: object) -> None:
    """Fail unless a manifest is valid."""
    VALIDATOR.validate(manifest)
