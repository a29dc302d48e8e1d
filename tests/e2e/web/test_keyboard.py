"""The whole job by keyboard alone: everything can be reached, the focus is seen, and no action loses it."""

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from demo.rest_client import RestClient
from tests.e2e.web.conftest import PHOTOGRAPHS, Visit, texts
from tests.e2e.web.museum import MARKUP, REPOSITORY, Museum
from tests.e2e.web.test_search_screen import at, calibrate, picture_shown

pytestmark = pytest.mark.timeout(300)

WORDS = texts("en")
# More than there are stops on any screen.
MOST_STOPS = 90
# What has the focus, and whether that is seen: an outline around it or around the label that it lies in.
FOCUS = """() => {
  const one = document.activeElement;
  const isDrawn = (element) => {
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
  };
  const isSeen = [one, one.closest("label")].some((element) => element && isDrawn(element));
  return { isLost: !one || one === document.body, isSeen, what: one?.outerHTML.slice(0, 120) };
}"""


def assert_focus(page: Page) -> None:
    """Fail if nothing has the focus, or if nobody could see what has it."""
    focus = page.evaluate(FOCUS)
    assert not focus["isLost"], "the focus is lost"
    assert focus["isSeen"], focus["what"]


def go_to(page: Page, target: Locator, *, key: str = "Tab") -> None:
    """Press Tab until the target has the focus."""
    element = target.element_handle()
    for _ in range(MOST_STOPS):
        page.keyboard.press(key)
        assert_focus(page)
        if page.evaluate("element => element === document.activeElement", element):
            return
    pytest.fail(f"{target} cannot be reached with {key}")


def press(page: Page, target: Locator, key: str = "Enter", *, by: str = "Tab") -> None:
    """Go to the target, and press a key."""
    go_to(page, target, key=by)
    page.keyboard.press(key)


def write(page: Page, target: Locator, text: str) -> None:
    """Go to a field, and write into it."""
    go_to(page, target)
    page.keyboard.press("Control+A")
    page.keyboard.type(text)


def choose(page: Page, target: Locator, file: FilePayload) -> None:
    """Go to a field for a file, and choose one in the browser's dialog."""
    go_to(page, target)
    with page.expect_file_chooser() as chooser:
        # A key can overtake the order to catch the dialog. A question to the page cannot: its answer means that the
        # order has arrived.
        assert_focus(page)
        page.keyboard.press("Enter")
    chooser.value.set_files([file])


def button(page: Page, words: str) -> Locator:
    return page.get_by_role("button", name=WORDS[words], exact=True)


def test_a_picture_is_found_by_keyboard_alone(visit: Visit, museum: Museum, photographs: int, hostile: int) -> None:
    page = visit(at(hostile))
    calibrate(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name=WORDS["skip"])).to_be_focused()
    page.keyboard.press("Enter")
    assert_focus(page)
    go_to(page, page.locator("#collection"))
    page.keyboard.type(PHOTOGRAPHS)
    expect(page.locator("#collection")).to_have_value(str(photographs))
    jpeg = FilePayload(name="mine.jpg", mimeType="image/jpeg", buffer=museum.pictures[1])
    choose(page, page.locator(".drop input"), jpeg)
    # The answer has the focus when it comes.
    expect(page.locator(".headline")).to_be_focused()
    picture_shown(page, 0)
    assert_focus(page)

    # The threshold, the entries, a result beside the picture, and back to it.
    go_to(page, page.get_by_label(WORDS["threshold"]))
    page.keyboard.press("ArrowRight")
    assert "at_least=" in page.url
    page.keyboard.press("ArrowLeft")
    press(page, page.get_by_label(WORDS["group"]), "Space")
    expect(page.locator(".headline")).to_be_focused()
    first = page.locator(".tile").first
    press(page, first.locator("button.picture"))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    press(page, dialog.get_by_role("button", name=WORDS["compare.swipe"]), "Space")
    go_to(page, dialog.get_by_label(WORDS["compare.swipe.label"]))
    page.keyboard.press("Home")
    go_to(page, dialog.get_by_role("link"))
    page.keyboard.press("Escape")
    expect(first.locator("button.picture")).to_be_focused()
    go_to(page, first.locator("a"))
    expect(first.locator("a")).to_have_attribute("href", f"{REPOSITORY}/{museum.objects[1]}")

    # More and fewer like a result, and that taken back.
    press(page, page.locator(".tile").nth(1).get_by_role("button", name=WORDS["result.less"]))
    expect(page.locator(".headline")).to_be_focused()
    press(page, page.locator(".examples button").first, by="Shift+Tab")
    expect(page.locator(".examples li")).to_have_count(0)
    picture_shown(page, 0)
    assert_focus(page)

    # A part of the picture.
    press(page, button(page, "region.open"), by="Shift+Tab")
    go_to(page, page.locator(".selection"))
    before = page.locator(".selection").get_attribute("aria-label")
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    expect(page.locator(".selection")).not_to_have_attribute("aria-label", str(before))
    with page.expect_request("**/search") as request:
        press(page, button(page, "region.do"))
    body = request.value.post_data_json
    assert body is not None
    assert body["region"] == {"x": 0.23, "y": 0.23, "width": 0.52, "height": 0.52}
    picture_shown(page, 0)
    assert_focus(page)

    # An address, the language, the theme, and the help.
    write(page, page.get_by_label(WORDS["input.url"]), f"{museum.address}/2.jpg")
    page.keyboard.press("Enter")
    expect(first.locator("a")).to_have_attribute("href", f"{REPOSITORY}/{museum.objects[2]}")
    assert_focus(page)
    press(page, page.get_by_role("button", name="Deutsch"), by="Shift+Tab")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    assert_focus(page)
    press(page, page.get_by_role("button", name=texts("de")["theme.dark"]))
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert_focus(page)
    press(page, page.get_by_role("link", name=texts("de")["verdict.help"]))
    expect(page.get_by_role("heading", name=texts("de")["help.percentile"])).to_be_focused()
    page.go_back()
    picture_shown(page, 0)


def test_a_collection_is_looked_after_by_keyboard_alone(
    visit: Visit, museum: Museum, client: RestClient, hostile: int, key: str
) -> None:
    page = visit("#/manage")
    write(page, page.get_by_label(WORDS["key.enter"]), key)
    page.keyboard.press("Enter")
    expect(page.get_by_text(WORDS["key.admin"])).to_be_visible()
    assert_focus(page)
    write(page, page.get_by_label(WORDS["create.name"]), "Seals")
    go_to(page, page.get_by_label(WORDS["create.source.csv"]))
    press(page, button(page, "create.do"))
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Seals")
    expect(heading).to_be_focused()

    rows = "".join(f"{museum.address}/{number}.jpg,{REPOSITORY}/{number}\n" for number in range(3))
    choose(
        page,
        page.get_by_label(WORDS["upload.choose"]),
        FilePayload(name="rows.csv", mimeType="text/csv", buffer=rows.encode()),
    )
    press(page, button(page, "upload.do"))
    expect(page.get_by_text(WORDS["upload.done.other"].replace("{n}", "3"))).to_be_visible()
    assert_focus(page)

    # A finetune is begun and cancelled. That it can be finished is tested by clicking.
    press(page, button(page, "finetune.do"))
    expect(button(page, "finetune.cancel")).to_be_visible()
    assert_focus(page)
    press(page, button(page, "finetune.cancel"))
    expect(button(page, "finetune.cancel")).to_have_count(0)
    assert_focus(page)

    press(page, page.get_by_role("checkbox").first, "Space")
    press(page, page.get_by_role("button", name=WORDS["images.remove.one"].replace("{n}", "1")))
    expect(page.locator("table.images tbody tr")).to_have_count(2)
    assert_focus(page)
    write(page, page.get_by_label(WORDS["images.add.image"]), f"{museum.address}/4.jpg")
    write(page, page.get_by_label(WORDS["images.add.entry"]), "Inv. 4")
    press(page, button(page, "images.add.do"))
    expect(page.locator("table.images tbody tr")).to_have_count(3)
    assert_focus(page)

    write(page, page.get_by_label(WORDS["create.name"], exact=True), "Wax seals")
    page.keyboard.press("Enter")
    expect(heading).to_have_text("Wax seals")
    assert_focus(page)
    write(page, page.get_by_label(WORDS["delete.confirm"].replace("{name}", "Wax seals")), "Wax seals")
    page.keyboard.press("Enter")
    expect(heading).to_have_text(WORDS["manage.title"])
    assert_focus(page)

    # Failures, and pictures that are there more than once.
    press(page, page.get_by_role("link", name=MARKUP))
    expect(page.locator("details")).to_be_visible()
    press(page, page.locator("details summary"))
    go_to(page, page.locator("details a"))
    with page.expect_download():
        press(page, button(page, "failures.csv"))
    assert_focus(page)
    page.goto(f"{page.url}&show=duplicates")
    expect(heading).to_be_focused()
    go_to(page, page.get_by_label(WORDS["images.show"]))
    page.keyboard.press("ArrowDown")
    expect(page).to_have_url(f"{page.url.partition('&kind')[0]}&kind=identical")
    assert_focus(page)
    press(page, page.get_by_role("link", name=WORDS["duplicates.back"].replace("{name}", MARKUP)), by="Shift+Tab")
    expect(heading).to_have_text(MARKUP)
    expect(heading).to_be_focused()
    press(page, button(page, "key.forget"))
    expect(page.get_by_label(WORDS["key.enter"])).to_be_visible()
    assert_focus(page)
