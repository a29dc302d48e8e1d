"""Results as a IIIF manifest open in Mirador, on a page of another site: every canvas, its label, image and comment."""

import io
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from deploy.tools import MIRADOR, TOOLS
from tests.e2e.running_instance import RunningInstance
from tests.e2e.web.conftest import WAIT_MS
from tests.e2e.web.museum import Museum
from tests.presentation_schema import assert_valid

pytestmark = pytest.mark.timeout(300)

FOLDER = TOOLS / "mirador"
PAGE = """<!doctype html><html lang="en"><title>A library</title><link rel="icon" href="data:,">
<style>.mirador-canvas-nav {{ opacity: 0; }}</style>
<div id="viewer"></div><script src="/{script}"></script>
<script>
  window.viewer = Mirador.viewer({{
    id: "viewer",
    windows: [{{ manifestId: {manifest}, thumbnailNavigationPosition: "far-bottom" }}],
    window: {{ sideBarOpenByDefault: true, defaultSideBarPanel: "{panel}", allowFullscreen: false }},
    workspaceControlPanel: {{ enabled: false }},
  }});
</script></html>"""
# What Mirador 4 reports wherever it runs.
OF_MIRADOR = "Accessing element.ref was removed in React 19"
# Few, because each canvas is looked at.
RESULTS = 6
# The side to which pictures are reduced for a comparison, and how much two of them may differ: of 255, on average.
SIDE, MOST_DIFFERENCE = 24, 5.0
Pixels = npt.NDArray[np.float32]

Open = Callable[..., Page]


class Library:
    """A site of another origin with Mirador. files: what it serves, by path: its media type and its bytes."""

    def __init__(self) -> None:
        self.address = ""
        self.files: dict[str, tuple[str, bytes]] = {}
        for release in MIRADOR:
            script = FOLDER / f"mirador-{release}.js"
            if not script.exists():
                pytest.fail(f"{script} not found: run 'make tools'")
            self.files[f"/{script.name}"] = ("text/javascript", script.read_bytes())

    def show(self, release: str, manifest: str, *, panel: str = "annotations") -> str:
        """Return the address of a page that shows a manifest, and a panel beside it."""
        page = PAGE.format(script=f"mirador-{release}.js", manifest=json.dumps(manifest), panel=panel)
        self.files["/"] = ("text/html; charset=utf-8", page.encode())
        return f"{self.address}/"


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    library = Library()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = library.files.get(self.path, ("text/plain", b""))
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        library.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield library
        server.shutdown()
        thread.join()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Return a function that opens a page. At the end, no page may have reported an error, nor a failed request."""
    errors: list[str] = []

    def report(message: ConsoleMessage) -> None:
        if message.type == "error" and OF_MIRADOR not in message.text:
            errors.append(message.text)

    with ExitStack() as stack:

        def opened(address: str) -> Page:
            context = chromium.new_context(locale="en", viewport={"width": 1280, "height": 800})
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(WAIT_MS)
            page.on("console", report)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("requestfailed", lambda request: errors.append(f"{request.url}: {request.failure}"))
            page.goto(address)
            return page

        yield opened
        assert errors == []


def fetched(address: str, body: dict[str, object] | None = None) -> dict[str, Any]:
    """Return the JSON at an address, which is asked for with a body if there is one."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data else {}
    asked = urllib.request.Request(address, data=data, headers=headers)  # noqa: S310 (loopback)
    with urllib.request.urlopen(asked, timeout=60) as response:  # noqa: S310
        return cast("dict[str, Any]", json.load(response))


def comments(manifest: dict[str, Any]) -> list[str]:
    """Return the sentence of each canvas that viewers show."""
    return [canvas["annotations"][0]["items"][0]["body"][0]["value"] for canvas in manifest["items"]]


@pytest.mark.parametrize("release", MIRADOR)
def test_mirador_shows_more_like_this(
    instance: RunningInstance,
    photographs: int,
    museum: Museum,
    library: Library,
    open_page: Open,
    screenshots: Path,
    release: str,
) -> None:
    image = f"{museum.address}/3.jpg"
    address = (
        f"{instance.address}/api/collection/{photographs}/similar?image_url={image}&num_results={RESULTS}&format=iiif"
    )
    manifest = fetched(address)
    assert_valid(manifest)
    assert len(manifest["items"]) == RESULTS
    page = open_page(library.show(release, address))
    check_canvases(page, manifest, museum)
    page.screenshot(path=screenshots / f"mirador-{release}.png")


def test_mirador_shows_the_answer_to_a_search_for_a_region(
    instance: RunningInstance,
    photographs: int,
    museum: Museum,
    library: Library,
    open_page: Open,
    screenshots: Path,
) -> None:
    region = {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}
    body = {"image_url": f"{museum.address}/3.jpg", "region": region, "num_results": 4}
    manifest = fetched(f"{instance.address}/api/collection/{photographs}/search?format=iiif", body)
    assert_valid(manifest)
    (found,) = manifest["annotations"][0]["items"]
    assert found["target"] == f"{museum.address}/3.jpg#xywh=percent:25,25,50,50"
    # A viewer gets such an answer as a file: a POST has no address.
    library.files["/results.json"] = ("application/json", json.dumps(manifest).encode())
    page = open_page(library.show("4", f"{library.address}/results.json"))
    check_canvases(page, manifest, museum)
    page.screenshot(path=screenshots / "mirador-region.png")


def test_mirador_shows_that_nothing_was_found(
    instance: RunningInstance, photographs: int, museum: Museum, library: Library, open_page: Open
) -> None:
    body = {
        "image_url": f"{museum.address}/3.jpg",
        "threshold": 100,
        "region": {"x": 0, "y": 0, "width": 0.1, "height": 1},
    }
    manifest = fetched(f"{instance.address}/api/collection/{photographs}/search?format=iiif", body)
    assert_valid(manifest)
    assert [canvas["label"] for canvas in manifest["items"]] == [{"en": ["No results"]}]
    library.files["/results.json"] = ("application/json", json.dumps(manifest).encode())
    page = open_page(library.show("4", f"{library.address}/results.json", panel="info"))
    expect(page.get_by_text("No results").first).to_be_visible()


def check_canvases(page: Page, manifest: dict[str, Any], museum: Museum) -> None:
    """Go through the canvases: each must show its label, its comment and its image."""
    expect(page.get_by_role("heading", name=manifest["label"]["en"][0]).first).to_be_visible()
    for canvas, comment in zip(manifest["items"], comments(manifest), strict=True):
        label = next(iter(canvas["label"].values()))[0]
        expect(page.get_by_text(label, exact=True).first).to_be_visible()
        expect(page.get_by_text(comment, exact=True)).to_be_visible()
        image = canvas["items"][0]["items"][0]["body"]["id"]
        check_image(page, museum.pictures[int(image.rpartition("/")[2].partition(".")[0])])
        if canvas is not manifest["items"][-1]:
            page.get_by_role("button", name="Next item").click()


def check_image(page: Page, jpeg: bytes) -> None:
    """Fail unless the viewer shows a picture. It moves it into its place for a while."""
    deadline, viewer = time.monotonic() + WAIT_MS / 1000, page.locator(".openseadragon-canvas").first
    picture = Image.open(io.BytesIO(jpeg))
    while True:
        shown = fitted(Image.open(io.BytesIO(viewer.screenshot())), picture.size)
        difference = abs(reduced(shown) - reduced(picture)).mean()
        if difference <= MOST_DIFFERENCE:
            return
        assert time.monotonic() < deadline, f"the image differs by {difference:.0f}"


def fitted(screenshot: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the part of a screenshot where a picture of this size is: in the middle, as large as fits."""
    scale = min(screenshot.width, screenshot.height) / max(size)
    width, height = (scale * side for side in size)
    left, top = (screenshot.width - width) / 2, (screenshot.height - height) / 2
    return screenshot.crop((round(left), round(top), round(left + width), round(top + height)))


def reduced(picture: Image.Image) -> Pixels:
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)
