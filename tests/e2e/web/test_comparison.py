"""A result beside the picture that was looked for: the part that was searched for, and both pictures overlaid."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import FloatRect, Locator, Page, expect

from tests.e2e.web.conftest import Visit, assert_accessible, texts
from tests.e2e.web.museum import Museum
from tests.e2e.web.test_search_screen import at, calibrate, give, picture_shown

pytestmark = pytest.mark.timeout(300)

WORDS = texts("en")
REGION = {"x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4}
# In pixels: rounding, and the width of an outline.
CLOSE = 2.0
# Half of the slider's thumb, whose middle goes from edge to edge.
THUMB = 8.0
# Where each picture lies in its frame, enlarged and moved as it is: from left to right, and from top to bottom.
PLACES = """(frames) => frames.map((frame) => {
  const image = frame.querySelector("img");
  const box = image.getBoundingClientRect();
  const ratio = image.naturalWidth / image.naturalHeight;
  const [width, height] = [Math.min(box.width, box.height * ratio), Math.min(box.height, box.width / ratio)];
  return { x: box.x + (box.width - width) / 2, y: box.y + (box.height - height) / 2, width, height };
})"""


def box_of(locator: Locator) -> FloatRect:
    box = locator.bounding_box()
    assert box is not None
    return box


def places(page: Page) -> list[FloatRect]:
    """Return where the two pictures are."""
    images = page.get_by_role("dialog").locator(".side img")
    expect(images).to_have_count(2)
    for image in images.all():
        page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())
    found: list[FloatRect] = page.get_by_role("dialog").locator(".side .frame").evaluate_all(PLACES)
    return found


def part_of(picture: FloatRect) -> dict[str, Any]:
    """Return where the region of a picture is."""
    return {
        "x": pytest.approx(picture["x"] + REGION["x"] * picture["width"], abs=CLOSE),
        "y": pytest.approx(picture["y"] + REGION["y"] * picture["height"], abs=CLOSE),
        "width": pytest.approx(REGION["width"] * picture["width"], abs=CLOSE),
        "height": pytest.approx(REGION["height"] * picture["height"], abs=CLOSE),
    }


@pytest.mark.parametrize("size", [(1280, 800), (360, 740)])
def test_the_part_that_was_searched_for_is_marked(
    visit: Visit, museum: Museum, photographs: int, screenshots: Path, size: tuple[int, int]
) -> None:
    region = ",".join(str(value) for value in REGION.values())
    address = f"{at(photographs)}&image_url={museum.address}/0.jpg&region={region}"
    page = visit(width=size[0], height=size[1])
    calibrate(page)
    page.goto(f"{page.url.partition('#')[0]}{address}")
    picture_shown(page, 0)
    expect(page.locator(".verdict")).to_contain_text(WORDS["verdict.estimate.part"])
    page.locator("button.picture").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(WORDS["compare.query.part"])
    part = dialog.locator(".part")
    expect(part).to_have_count(1)
    assert box_of(part) == part_of(places(page)[0])
    assert_accessible(page)
    page.screenshot(path=screenshots / f"compare-part-{size[0]}.png")

    # It stays on the picture when that is enlarged, and its line stays thin.
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert box_of(part) == part_of(places(page)[0])
    thickness = float(part.evaluate("part => getComputedStyle(part).borderTopWidth").removesuffix("px"))
    assert thickness * 1.4**2 == pytest.approx(2, abs=1)

    # The other results have no part, and neither has a search for the whole picture.
    page.keyboard.press("Escape")
    give(page, museum.pictures[0])
    expect(page.locator("figure.query figcaption")).to_have_text("photo.jpg")
    picture_shown(page, 0)
    page.locator("button.picture").first.click()
    places(page)
    expect(part).to_have_count(0)
    expect(dialog).not_to_contain_text(WORDS["compare.query.part"])


@pytest.mark.parametrize("size", [(1280, 800), (360, 740)])
def test_the_border_of_the_overlay_goes_from_edge_to_edge_of_the_pictures(
    visit: Visit, museum: Museum, photographs: int, screenshots: Path, size: tuple[int, int]
) -> None:
    page = visit(at(photographs), width=size[0], height=size[1])
    give(page, museum.pictures[0])
    picture_shown(page, 1)
    page.locator("button.picture").nth(1).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name=WORDS["compare.swipe"]).click()
    slider, border = dialog.get_by_label(WORDS["compare.swipe.label"]), dialog.locator(".border")

    def check_edges() -> None:
        frame, pictures = box_of(dialog.locator(".frame").first), places(page)
        left = max(frame["x"], min(picture["x"] for picture in pictures))
        right = min(frame["x"] + frame["width"], max(picture["x"] + picture["width"] for picture in pictures))
        box = box_of(slider)
        assert box["x"] == pytest.approx(left - THUMB, abs=CLOSE)
        assert box["x"] + box["width"] == pytest.approx(right + THUMB, abs=CLOSE)
        for key, edge in (("Home", left), ("End", right)):
            slider.press(key)
            assert border.evaluate("border => border.getBoundingClientRect().x") == pytest.approx(edge, abs=CLOSE)

    check_edges()
    dialog.get_by_role("button", name=WORDS["compare.zoom_in"]).click()
    check_edges()
    slider.fill("50")
    page.screenshot(path=screenshots / f"compare-overlay-{size[0]}.png")
