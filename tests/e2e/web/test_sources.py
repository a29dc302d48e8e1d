"""The web page and collections that are read from IIIF or OAI-PMH."""

import pytest
from playwright.sync_api import expect

from demo.rest_client import RestClient
from tests.e2e.web.conftest import FINETUNE_SECONDS, Visit, assert_accessible, texts
from tests.e2e.web.museum import CREDITS, RIGHTS, Museum
from tests.e2e.web.test_manage_screen import enter
from tests.e2e.web.test_search_screen import give

pytestmark = pytest.mark.timeout(300)

READ_MS = 60_000.0


def test_a_collection_is_read_from_manifests_and_again_by_itself(visit: Visit, museum: Museum, key: str) -> None:
    words = texts("de")
    page = visit("#/manage", language="de", theme="dark")
    enter(page, key, words)
    page.get_by_label(words["create.name"]).fill("Handschriften")
    page.get_by_label(words["create.source.iiif"]).check()
    page.get_by_label(words["create.url.iiif"]).fill(f"{museum.address}/iiif/all")
    assert_accessible(page)
    page.get_by_role("button", name=words["create.do"]).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Handschriften")

    panel = page.locator(".panel").filter(has=page.get_by_role("heading", name=words["source.title"], exact=True))
    expect(panel.get_by_role("link").first).to_have_attribute("href", f"{museum.address}/iiif/all")
    read = panel.get_by_role("button", name=words["source.again"])
    expect(read).to_be_visible(timeout=READ_MS)
    expect(panel).to_contain_text(words["source.read"].partition("{added}")[2].replace("{changed}", "0").split(",")[0])
    # What brought no picture is named, with a link.
    panel.locator("summary").click()
    expect(panel.locator("details a")).to_have_attribute("href", f"{museum.address}/iiif/absent")
    expect(panel.locator("details")).to_contain_text(words["record.not_found"])
    # Its pictures cannot be changed here.
    expect(page.locator("table.images tbody tr")).to_have_count(2)
    expect(page.locator("table.images input")).to_have_count(0)
    expect(page.get_by_text(words["images.add"])).to_have_count(0)

    panel.get_by_label(words["source.refresh"]).select_option("weekly")
    then = panel.get_by_label(words["source.then"])
    expect(then).not_to_be_checked()
    # The box is checked at once, and only then does the service store the choice.
    with page.expect_response(lambda response: response.request.method != "GET" and response.ok):
        then.click()
    expect(then).to_be_checked()
    expect(panel.get_by_text(words["source.next"].partition("{date}")[0])).to_be_visible()
    page.reload()
    expect(panel.get_by_label(words["source.refresh"])).to_have_value("weekly")
    expect(then).to_be_checked()
    assert_accessible(page)
    panel.get_by_label(words["source.refresh"]).select_option("")
    expect(then).to_have_count(0)
    read.click()
    expect(read).to_be_visible(timeout=READ_MS)

    # Results show what the source says about them, and nothing in it becomes markup or an unsafe link.
    page.locator(".panel").get_by_role("button", name=words["finetune.do"]).click()
    expect(page.locator(".state.current")).to_be_visible(timeout=1000 * FINETUNE_SECONDS)
    page.get_by_role("link", name=words["manage.search"]).click()
    give(page, museum.pictures[0])
    page.locator(".tile button.picture").first.click()
    dialog = page.get_by_role("dialog")
    origin = dialog.locator("dl.origin")
    expect(origin).to_contain_text(CREDITS[0])
    expect(dialog.get_by_role("link", name=RIGHTS[0])).to_have_attribute("href", RIGHTS[0])
    assert_accessible(page)
    page.keyboard.press("ArrowRight")
    # Manifests may have markup in this text, so it is removed.
    expect(origin).to_contain_text(RIGHTS[1])
    expect(origin.locator("a")).to_have_count(0)
    assert page.evaluate("window.injected") is None


def test_a_source_that_cannot_be_read_says_why_and_keeps_the_collection(
    visit: Visit, museum: Museum, client: RestClient, key: str
) -> None:
    words = texts("en")
    page = visit("#/manage")
    enter(page, key, words)
    page.get_by_label(words["create.name"]).fill("Letters")
    page.get_by_label(words["create.source.oai"]).check()
    page.get_by_label(words["create.url.oai"]).fill(f"{museum.address}/0.jpg")
    page.get_by_label(words["create.prefix"]).fill("lido")
    page.get_by_role("button", name=words["create.do"]).click()
    expect(page.get_by_text(words["source.format"].replace("{format}", "lido"))).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text(words["source.failed"], timeout=READ_MS)
    expect(page.get_by_role("alert")).to_contain_text(words["reason.source_invalid"])
    # Without a key, the source is shown but cannot be changed.
    page.get_by_role("button", name=words["key.forget"]).click()
    expect(page.get_by_text(words["source.format"].replace("{format}", "lido"))).to_be_visible()
    expect(page.get_by_label(words["source.refresh"])).to_have_count(0)
