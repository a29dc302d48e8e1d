"""The page of the specification shows all of it, has no broken links, and needs no other host and no script."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

from gateway.about.specification import PAGE_HEADERS, load_specification
from tests.specification import DOCUMENT, operations


class Page(HTMLParser):
    """The page, parsed: its ids, links, tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.style = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if "href" in values else []

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style":
            self.style += data.strip() and data
        else:
            self.text += data


SPECIFICATION = load_specification()
PAGE = Page(SPECIFICATION.page.body.decode())


def test_the_page_shows_every_operation_and_every_problem() -> None:
    for operation in operations():
        assert operation.id in PAGE.ids
        assert operation.path in PAGE.text
    for code in DOCUMENT["components"]["examples"]:
        assert code in ("csv", "openapi", "iiif_manifest") or f"problem-{code}" in PAGE.ids


def test_every_link_of_the_page_leads_somewhere() -> None:
    inside = {link.removeprefix("#") for link in PAGE.links if link.startswith("#")}
    assert len(inside) > 50
    assert inside - set(PAGE.ids) == set()
    assert {link for link in PAGE.links if not link.startswith("#")} == {"openapi.yaml", "openapi.json"}


def test_no_id_is_used_twice() -> None:
    assert len(PAGE.ids) == len(set(PAGE.ids))


def test_the_page_obeys_its_own_content_security_policy() -> None:
    policy = PAGE_HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert PAGE.names & {"script", "img", "link", "iframe", "object", "form", "base"} == set()
    assert not [name for name in PAGE.attributes if name.startswith("on") or name in ("style", "src")]
    digest = base64.b64encode(hashlib.sha256(PAGE.style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "url(" not in PAGE.style


def test_markdown_and_references_are_rendered() -> None:
    assert re.search(r"\$ref|\*\*|\]\(#|#/components", PAGE.text) is None


def test_commands_have_the_key_where_one_is_needed() -> None:
    assert 'curl -s "$similis/api/collection/create" \\\n  -H "API-Key: $key" \\\n' in PAGE.text
    assert 'curl -s -X POST "$similis/api/collection/1/delete" \\\n  -H "API-Key: $key"' in PAGE.text


def test_json_and_yaml_are_the_same() -> None:
    assert json.loads(SPECIFICATION.json.body) == DOCUMENT
