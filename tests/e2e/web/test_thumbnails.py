"""The web page where the service shows all pictures: no browser asks an image host."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.running_instance import RunningInstance, until
from tests.e2e.web.conftest import Visit, assert_accessible, texts
from tests.e2e.web.museum import Museum
from tests.e2e.web.test_search_screen import at, calibrate, give, picture_shown
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)

STOP_SECONDS = 20


@pytest.fixture(scope="module")
def proxying(instance: RunningInstance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    """A second gateway of the instance, which serves thumbnails."""
    port = free_port()
    environment = instance.child("gateway").environ() | {
        "SIMILIS_PORT": str(port),
        "SIMILIS_SPOOL_DIRECTORY": str(tmp_path_factory.mktemp("spool")),
        "SIMILIS_SERVE_THUMBNAILS": "true",
    }
    with subprocess.Popen([sys.executable, "-m", "gateway"], env=environment) as process:
        gateway = RunningInstance(instance.process, instance.data, f"http://127.0.0.1:{port}", 0.0)
        try:
            until(lambda: gateway.get("/readyz") == 200)
            yield gateway
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def test_pictures_come_through_the_service(
    visit: Visit, chromium: Browser, proxying: RunningInstance, museum: Museum, photographs: int
) -> None:
    words = texts("en")
    page: Page = visit()
    # The first page belongs to another gateway. What it still asks for must not count.
    page.goto("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{proxying.address}/{at(photographs)}")
    expect(page.locator(".drop")).to_be_visible()
    calibrate(page)
    give(page, museum.pictures[0])
    picture_shown(page, 2)
    sources = [str(image.get_attribute("src")) for image in page.locator(".tile img").all()]
    assert all(source.startswith(f"api/collection/{photographs}/images/") for source in sources)
    page.locator("button.picture").nth(1).click()
    large = page.get_by_role("dialog").locator("img").last
    expect(large).to_have_attribute("src", f"{sources[1]}?size=large")
    page.wait_for_function("image => image.naturalWidth > 0", arg=large.element_handle())
    page.keyboard.press("Escape")

    # A part of a picture of the collection: its picture comes through the service too.
    page.locator(".tile").nth(1).get_by_role("button", name=words["result.similar"]).click()
    picture_shown(page, 0)
    page.get_by_role("button", name=words["region.open"]).click()
    expect(page.locator(".area")).to_be_visible()
    page.keyboard.press("Escape")

    # A picture of another site is searched for, and not shown.
    page.get_by_label(words["input.url"]).fill(f"{museum.address}/3.jpg")
    page.get_by_role("button", name=words["search"], exact=True).click()
    picture_shown(page, 0)
    expect(page.locator("figure.query")).to_contain_text(words["query.not_shown"])
    assert_accessible(page)

    page.goto(f"{proxying.address}/#/manage?collection={photographs}")
    thumbnail = page.locator("table.images img").first
    page.wait_for_function("image => image.naturalWidth > 0", arg=thumbnail.element_handle())
    page.goto(f"{proxying.address}/#/help")
    expect(page.get_by_text(words["help.pictures.proxied"])).to_be_visible()
    assert not [url for url in asked if not url.startswith((proxying.address, "blob:", "data:"))]


def test_a_picture_that_is_gone_is_said_in_words(
    visit: Visit, proxying: RunningInstance, museum: Museum, photographs: int
) -> None:
    page = visit()
    page.route("**/thumbnail*", lambda route: route.fulfill(status=404, json={"code": "not_found", "message": "Gone."}))
    page.goto(f"{proxying.address}/{at(photographs)}")
    expect(page.locator(".drop")).to_be_visible()
    give(page, museum.pictures[0])
    first = page.locator(".tile").first
    expect(first).to_contain_text(museum.objects[0])
    expect(first).to_contain_text(texts("en")["result.no_picture"])
