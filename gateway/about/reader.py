"""The specification as one HTML page, which needs no script and loads nothing.

The template decides what the page looks like; this module prepares what it shows.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from markupsafe import Markup

FOLDER = Path(__file__).parent
STYLE = (FOLDER / "reader.css").read_text(encoding="utf-8")
STYLE_HASH = f"sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}"
# The limit of the type says nothing to a reader.
MAX_INTEGER = 2**63 - 1
# An object in an object in a list is the deepest that the tables show.
MAX_DEPTH = 4
# An object or list in an example that is not longer is shown on one line.
SHOWN_CHARACTERS = 72
INNERMOST = re.compile(r"[\[{]\n[^\[\]{}]*[\]}]")
RANGES = {
    ("minimum", "maximum"): "{} to {}",
    ("minLength", "maxLength"): "{} to {} characters",
}
BOUNDS = {
    "minimum": "from {}",
    "maximum": "up to {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
}

# A node of the specification, as YAML and JSON have it.
Node = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A row of a table: a field of an object. path: such as `names[].id`. type: such as `integer or null`."""

    path: str
    type: str
    required: bool
    limits: str
    description: str


def reader_page(document: Node) -> str:
    """Return the page as HTML. document: the parsed specification."""
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    follow = partial(_follow, document)
    markdown = MarkdownIt("commonmark", {"html": False})
    environment.filters |= {
        "follow": follow,
        "markdown": lambda text: Markup(markdown.render(text)),  # noqa: S704 (raw HTML is off)
        "inline": lambda text: Markup(markdown.renderInline(text)),  # noqa: S704
        "fields": lambda schema: list(_fields(follow, follow(schema))),
        "alternatives": lambda schema: follow(schema).get("oneOf", [schema]),
        "type": lambda schema: _type(follow, schema),
        "limits": lambda schema: _limits(follow(schema)),
        "sample": _sample,
    }
    return environment.get_template("reader.html").render(
        document=document,
        operations=list(_operations(document)),
        problems=_problems(document),
        style=Markup(STYLE),  # noqa: S704 (our own file)
        curl=partial(_curl, follow),
    )


def _follow(document: Node, node: Node) -> Node:
    """Return the node that a reference names; another node as it is."""
    while "$ref" in node:
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def _operations(document: Node) -> Iterator[Node]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield {**operation, "path": path, "method": method.upper()}


def _problems(document: Node) -> dict[int, list[Node]]:
    """Return the examples of problems, with what their codes mean, by status."""
    found: dict[int, list[Node]] = {}
    for example in document["components"]["examples"].values():
        value = example["value"]
        if isinstance(value, dict) and "code" in value:
            found.setdefault(value["status"], []).append({**value, "summary": example["summary"]})
    return found


def _fields(follow: Any, schema: Node, prefix: str = "", depth: int = 0) -> Iterator[Field]:
    """Yield the fields of an object, or of the objects in a list, and those of the objects in it."""
    if "items" in schema:
        yield from _fields(follow, follow(schema["items"]), f"{prefix}[]", depth)
    for name, value in schema.get("properties", {}).items():
        inner, path = follow(value), f"{prefix}.{name}".removeprefix(".")
        description = value.get("description") or inner.get("description", "")
        yield Field(path, _type(follow, value), name in schema.get("required", ()), _limits(inner), description)
        if depth < MAX_DEPTH:
            yield from _fields(follow, inner, path, depth + 1)


def _type(follow: Any, schema: Node) -> str:
    """Return the type of a schema in words."""
    schema = follow(schema)
    if "oneOf" in schema:
        return " or ".join(_type(follow, one) for one in schema["oneOf"])
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    names = schema.get("type", "any")
    names = names if isinstance(names, list) else [names]
    of_items = f" of {_type(follow, schema['items'])}" if "items" in schema else ""
    return " or ".join(f"{name}{of_items}" if name == "array" else name for name in names)


def _limits(schema: Node) -> str:
    """Return the allowed range and the default in words."""
    schema = {name: value for name, value in schema.items() if value != MAX_INTEGER}
    found: list[str] = []
    seen: set[str] = set()
    for pair, text in RANGES.items():
        if all(name in schema for name in pair):
            found.append(text.format(*(schema[name] for name in pair)))
            seen.update(pair)
    found += [text.format(schema[name]) for name, text in BOUNDS.items() if name in schema and name not in seen]
    if "default" in schema:
        found.append(f"default {json.dumps(schema['default'])}")
    return ", ".join(found)


def _sample(value: Any) -> str:
    """Return an example as text: JSON with short objects and lists on one line."""
    if isinstance(value, str):
        return value
    return INNERMOST.sub(_on_one_line, json.dumps(value, ensure_ascii=False, indent=2))


def _on_one_line(found: re.Match[str]) -> str:
    # All line breaks are from the indentation: strings in JSON have none.
    line = re.sub(r"\n *", " ", found[0]).replace("[ ", "[").replace(" ]", "]").replace("{ ", "{").replace(" }", "}")
    return line if len(line) <= SHOWN_CHARACTERS else found[0]


def _curl(follow: Any, operation: Node) -> str:
    """Return a command that calls the operation with its first example."""
    path = operation["path"]
    for parameter in map(follow, operation.get("parameters", [])):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(_first_value(follow, parameter)))
    body = operation.get("requestBody")
    words = [f'curl -s "$similis{path}"']
    if operation["method"] == "POST" and body is None:
        words.insert(0, words.pop().replace("curl -s", "curl -s -X POST"))
    if {} not in operation["security"]:
        words.append('-H "API-Key: $key"')
    if body is not None:
        kind, content = next(iter(body["content"].items()))
        words.append(f"-H {quote(f'Content-Type: {kind}')}")
        value = _first_value(follow, content)
        words.append(
            f"--data-binary {quote(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}"
        )
    return " \\\n  ".join(words)


def _first_value(follow: Any, node: Node) -> Any:
    return follow(next(iter(node["examples"].values())))["value"]
