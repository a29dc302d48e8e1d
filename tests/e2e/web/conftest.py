"""One instance of Similis with finetuned collections, and a browser."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from demo.rest_client import RestClient
from deploy.tools import TOOLS
from gateway.web.assets import SITE
from tests.e2e.running_instance import RunningInstance, data_with_shared_models
from tests.e2e.web.museum import MARKUP, Museum

CHROMIUM, AXE = TOOLS / "chromium" / "chromium", TOOLS / "axe" / "axe.min.js"
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
FINETUNE_SECONDS = 240
PHOTOGRAPHS = "Photographs"
# From this width on, in pixels, a PNG of the screen takes seconds.
LARGE = 3000
# Long enough for a busy machine.
WAIT_MS = 20_000.0
# The browser's own report of an answer that is an error. The page says so in words.
NETWORK_REPORT = "Failed to load resource"


@pytest.fixture(scope="session")
def museum() -> Iterator[Museum]:
    with Museum().serving() as museum:
        yield museum


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    data = data_with_shared_models(tmp_path_factory.mktemp("web") / "data")
    environment = {"SIMILIS_WORKERS": "1", "SIMILIS_LOG_LEVEL": "warning"}
    instance = RunningInstance.start(data, "--allow-private-addresses", environment=environment)
    yield instance
    instance.stop()


@pytest.fixture(scope="session")
def key(instance: RunningInstance) -> str:
    return (instance.data / "admin-key").read_text(encoding="ascii").strip()


@pytest.fixture(scope="session")
def client(instance: RunningInstance, key: str) -> RestClient:
    return RestClient(instance.address, key)


@pytest.fixture(scope="session")
def begun(client: RestClient, museum: Museum) -> dict[str, int]:
    """The ids of collections by name. Tests that need one of them run while the others are finetuned."""
    rows = {PHOTOGRAPHS: museum.rows(), MARKUP: museum.hostile_rows()}
    collections = {name: client.create(name) for name in rows}
    for name, collection in collections.items():
        client.upload(collection, rows[name])
        client.finetune(collection)
    return collections


def finetuned(client: RestClient, collection: int) -> int:
    """Wait until a collection can be searched, and return its id."""
    # Polling takes CPU time from the finetune.
    for _ in range(FINETUNE_SECONDS):
        if not client.info(collection)["requires_finetuning"]:
            return collection
        time.sleep(1.0)
    pytest.fail(f"the finetune took longer than {FINETUNE_SECONDS} s")


@pytest.fixture(scope="session")
def photographs(client: RestClient, begun: dict[str, int]) -> int:
    """A small collection of photographs."""
    return finetuned(client, begun[PHOTOGRAPHS])


@pytest.fixture(scope="session")
def hostile(client: RestClient, begun: dict[str, int]) -> int:
    """A collection whose texts are markup."""
    return finetuned(client, begun[MARKUP])


@pytest.fixture(scope="session")
def empty(client: RestClient) -> int:
    """A collection that has never been finetuned."""
    return client.create("Nothing yet")


@pytest.fixture(scope="module")
def chromium(instance: RunningInstance) -> Iterator[Browser]:
    """A browser. While it runs, an event loop runs in this thread, so it ends before tests that start one."""
    missing = [str(path) for path in (CHROMIUM, AXE) if not path.exists()]
    if missing:
        pytest.fail(f"{', '.join(missing)} not found: run 'make tools'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


def texts(language: str) -> dict[str, str]:
    """Return the page's texts in a language."""
    found: dict[str, str] = json.loads((SITE / "lang" / f"{language}.json").read_text(encoding="utf-8"))
    return found


def assert_accessible(page: Page) -> None:
    """Fail with what axe-core finds serious or critical."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    # What passes need not be described, which takes nearly half of the time.
    found = page.evaluate("async () => (await axe.run({ resultTypes: ['violations'] })).violations")
    serious = [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


Visit = Callable[..., Page]


@pytest.fixture
def visit(chromium: Browser, instance: RunningInstance) -> Iterator[Visit]:
    """Return a function that opens the page. At the end, no page may have reported an error."""
    errors: list[str] = []

    def report(message: ConsoleMessage) -> None:
        if message.type == "error" and NETWORK_REPORT not in message.text:
            errors.append(message.text)

    with ExitStack() as stack:

        def opened(
            address: str = "",
            *,
            language: str = "en",
            theme: str = "light",
            width: int = 1280,
            height: int = 800,
            is_phone: bool = False,
        ) -> Page:
            context = chromium.new_context(
                locale=language,
                color_scheme="dark" if theme == "dark" else "light",
                viewport={"width": width, "height": height},
                has_touch=is_phone,
                is_mobile=is_phone,
            )
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(WAIT_MS)
            page.on("console", report)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(f"{instance.address}/{address}")
            page.wait_for_selector("h1")
            return page

        yield opened
        assert errors == []


def picture_name(screen: str, width: int) -> str:
    """Return the name of a screen's picture. A JPEG of a 4K screen takes a quarter of the time of a PNG."""
    return f"{screen}.{'jpeg' if width >= LARGE else 'png'}"


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """The folder for pictures of each screen, for people to look at."""
    folder = TOOLS.parent / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
