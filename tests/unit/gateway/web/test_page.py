"""The web page's files, as browsers get them."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.http.responses import data
from gateway.http.routes import about_routes, add_page_routes, api_routes
from gateway.web.assets import SITE, Site
from gateway.web.handlers import PageHandlers, policy

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
POLICY = policy(serves_thumbnails=False)
FIRST_LOAD_BYTES = 90_000
EMBED_BYTES = 15_000
API = SITE.parents[2] / "docs" / "api.md"
# The page does not send what these are about.
NOT_MET = {
    *("collections", "exclude", "exclude_self", "examples", "weight", "force", "refresh", "form", "group_by", "http"),
    *(
        "image_id",
        "image_ids",
        "repo_url",
        "base64",
        "kind",
        "limit",
        "after",
        "max_false_match_rate",
        "min_percentile",
    ),
    *("num_results", "offset", "queries", "full", "format", "revision", "size", "state", "threshold", "allow_empty"),
}
NOT_MET = {f"invalid_{name}" for name in NOT_MET} | {
    *("conflicting_fields", "content_missing", "index_not_found", "method_not_allowed", "revision_not_found"),
    *("several_keys", "too_many_images", "unsupported_encoding", "thumbnails_not_served"),
}
Browser = TestClient[web.Request, web.Application]


async def about(_: web.Request) -> web.Response:
    return data({"name": "similis"})


@pytest.fixture(scope="module")
def site() -> Site:
    return Site.load()


@pytest_asyncio.fixture
async def browser(site: Site) -> AsyncIterator[Browser]:
    application = web.Application()
    add_page_routes(application, PageHandlers(site, about))
    async with TestClient(TestServer(application), auto_decompress=False) as client:
        yield client


def sources() -> str:
    scripts = [path for path in SITE.rglob("*.js") if "vendor" not in path.parts]
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(scripts))


def codes_in(document: str) -> set[str]:
    """Return the codes in the first column of a table."""
    rows = re.findall(r"^\| ((?:`[a-z0-9_]+`(?:, )?)+) \|", document, re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`([a-z0-9_]+)`", row)}


def texts(language: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((SITE / "lang" / f"{language}.json").read_text(encoding="utf-8"))
    return found


async def test_browsers_get_the_page(browser: Browser) -> None:
    answer = await browser.get("/", headers={"Accept": BROWSER})
    assert answer.content_type == "text/html"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize("accept", ["application/json", "*/*", ""])
async def test_other_clients_get_json(browser: Browser, accept: str) -> None:
    answer = await browser.get("/", headers={"Accept": accept})
    assert await answer.json() == {"name": "similis"}


async def test_a_file_is_kept_forever_at_the_path_of_its_version(browser: Browser, site: Site) -> None:
    answer = await browser.get(f"/web/{site.version}/main.js", headers={"Accept-Encoding": "gzip, br"})
    assert answer.status == 200
    assert answer.content_type == "text/javascript"
    assert "immutable" in answer.headers["Cache-Control"]
    assert gzip.decompress(await answer.read()) == (SITE / "main.js").read_bytes()
    other = await browser.get("/web/0000000000000000/main.js")
    assert other.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0, br"])
async def test_a_client_without_gzip_gets_the_plain_file(browser: Browser, site: Site, accepted: str) -> None:
    answer = await browser.get(f"/web/{site.version}/main.js", headers={"Accept-Encoding": accepted})
    assert await answer.read() == (SITE / "main.js").read_bytes()


@pytest.mark.parametrize("path", ["/", "/web/any/main.js"])
async def test_a_known_file_is_not_sent_again(browser: Browser, path: str) -> None:
    first = await browser.get(path, headers={"Accept": BROWSER})
    again = await browser.get(path, headers={"Accept": BROWSER, "If-None-Match": first.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]


async def test_other_sites_get_the_elements_at_a_path_that_stays(browser: Browser) -> None:
    answer = await browser.get("/embed.js")
    assert answer.content_type == "text/javascript"
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert len(await answer.read()) < EMBED_BYTES
    again = await browser.get("/embed.js", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304


def test_the_elements_make_no_markup_of_texts() -> None:
    source = (SITE / "embed.js").read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|\beval\b|^import ", source, re.MULTILINE
    )


@pytest.mark.parametrize("name", ["absent.js", "../handlers.py", "..%2fhandlers.py", "vendor/LICENSE-htm"])
async def test_nothing_else_is_served(browser: Browser, site: Site, name: str) -> None:
    assert (await browser.get(f"/web/{site.version}/{name}")).status == 404


async def test_the_page_works_below_a_path(site: Site) -> None:
    """Behind a proxy the page may have any path, so no address in it begins with a slash."""
    for path in SITE.rglob("*.*"):
        if "vendor" not in path.parts:
            assert not re.findall(r"""(?:href|src|from|import\(|fetch\()[= ]?["'`]/[^*]""", path.read_text("utf-8")), (
                path
            )
    index = (SITE / "index.html").read_text(encoding="utf-8")
    linked = re.findall(r'(?:href|src)="web/\{version\}/([^"]+)"', index)
    assert len(linked) > 5
    assert set(linked) <= set(site.assets)


def test_the_version_changes_with_any_file(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("{version}")
    (folder / "main.js").write_text("1")
    before = Site.load(folder)
    assert before.index.body.decode() == before.version
    (folder / "main.js").write_text("2")
    assert Site.load(folder).version != before.version


def test_the_policy_allows_no_inline_code() -> None:
    assert "unsafe" not in POLICY
    assert "script-src 'self'" in POLICY
    assert "dangerouslySetInnerHTML" not in sources()
    index = (SITE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|style=|<script(?![^>]* src=)| on\w+=", index)


def test_where_thumbnails_are_served_pictures_come_from_the_service_only(site: Site) -> None:
    assert "img-src 'self' blob: data: http: https:;" in POLICY
    assert b'data-pictures="direct"' in site.index.body
    assert b'data-pictures="proxied"' in Site.load(serves_thumbnails=True).index.body
    assert "img-src 'self' blob: data:;" in policy(serves_thumbnails=True)


def test_both_languages_have_the_same_texts() -> None:
    english, german = texts("en"), texts("de")
    assert list(english) == list(german)
    for key, text in english.items():
        assert text.strip()
        assert german[key].strip()
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", german[key])), key


@pytest.mark.parametrize(("language", "wrong"), [("en", r"[\d}]\s%"), ("de", r"[\d}](?: |)%")])
def test_no_percent_sign_is_on_another_line_than_its_number(language: str, wrong: str) -> None:
    """English writes 5%. German has a space there, which must not break."""
    assert {key: text for key, text in texts(language).items() if re.search(wrong, text)} == {}


def test_every_code_that_somebody_can_meet_has_words_in_both_languages() -> None:
    document = API.read_text(encoding="utf-8").partition("\n## Error codes")[2].partition("\n## Status routes")[0]
    errors, _, others = document.partition("\n### Codes of finetunes and images")
    finetunes, _, reasons = others.partition("| `reason` of an image")
    known = set(re.findall(r'"([a-z0-9_]+)"', (SITE / "problem_words.js").read_text(encoding="utf-8")))
    english = texts("en")

    def worded(code: str) -> bool:
        return code in known or f"problem.{code}" in english

    assert {code for code in codes_in(errors) - NOT_MET if not worded(code)} == set()
    failed = codes_in(finetunes)
    assert {code for code in failed if not worded(code) and f"finetune.error.{code}" not in english} == set()
    assert {code for code in codes_in(reasons) if f"reason.{code}" not in english} == set()


def test_every_text_that_the_page_asks_for_exists() -> None:
    english = texts("en")
    asked = set(re.findall(r'\bt\("([^"]+)"', sources()))
    assert len(asked) > 50
    assert {key for key in asked if key not in english and f"{key}.other" not in english} == set()


def test_every_text_is_used() -> None:
    source = sources()
    literal = set(re.findall(r'"([a-z_.0-9]+)"', source))
    # Composed keys: t(`verdict.${sure}.why`).
    patterns = [
        re.sub(r"\\\$\\\{.*?\\\}", ".+", re.escape(found))
        for found in re.findall(r"`([a-z_]+\.[^`]*\$\{[^`]*)`", source)
    ]
    about = tuple(f"{found}." for found in re.findall(r'about="([^"]+)"', source))
    unused = [
        key
        for key in texts("en")
        if re.sub(r"\.(one|other)$", "", key) not in literal
        and not key.startswith(about)
        and not any(re.fullmatch(pattern, re.sub(r"\.(one|other)$", "", key)) for pattern in patterns)
    ]
    assert unused == []


def test_the_api_has_every_route_that_the_page_calls() -> None:
    routes = {route.path for route in api_routes(Mock(), request_seconds=1, upload_seconds=1)}
    routes |= {path for path, _ in about_routes(Mock())}
    called = re.findall(r"""(?:call|post|sent)\((?:[^"`,]*\? )?["`]([^"`]+)["`]""", sources())
    called += re.findall(r"path=\$\{`([^`]+)`", sources())
    called += re.findall(r"return `api/(.+/thumbnail)", sources())
    assert len(called) > 12
    paths = {re.sub(r"\$\{(query.id|image.image_id)\}", "{image_id}", path) for path in called}
    paths.discard("${path}")
    paths = {f"/api/{re.sub(r'[$]{[^}]+}', '{id}', path)}" for path in paths}
    assert paths - routes == set()


def test_the_first_load_is_small(site: Site) -> None:
    """The page, its styles, and every script that it needs before anything is clicked, compressed."""
    reached, waiting = set(), ["style/base.css", "style/search.css", "theme.js", "main.js", "icon.svg", "lang/de.json"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        imported = re.findall(r'^import .* from "([^"]+)"', site.assets[name].body.decode(), re.MULTILINE)
        paths = {(SITE / name).parent.joinpath(found).resolve().relative_to(SITE).as_posix() for found in imported}
        waiting += paths - reached
    assert "search/screen.js" in reached
    assert len(site.index.compressed) + sum(len(site.assets[name].compressed) for name in reached) < FIRST_LOAD_BYTES
