"""The web page on a phone, with fingers."""

import pytest
from playwright.sync_api import CDPSession, FloatRect, Locator, expect

from tests.e2e.web.conftest import Visit, texts
from tests.e2e.web.museum import REPOSITORY, Museum
from tests.e2e.web.test_search_screen import at, calibrate, give, picture_shown

pytestmark = pytest.mark.timeout(300)

WORDS = texts("en")
Place = tuple[float, float]


def drag(session: CDPSession, box: FloatRect, *fingers: tuple[Place, Place]) -> None:
    """Move fingers over a box. fingers: from where to where each moves, in fractions of the box."""

    def touch(kind: str, share: float = 0.0) -> None:
        points = [
            {
                "x": box["x"] + box["width"] * (x + share * (to_x - x)),
                "y": box["y"] + box["height"] * (y + share * (to_y - y)),
                "id": number,
            }
            for number, ((x, y), (to_x, to_y)) in enumerate(fingers)
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if kind != "touchEnd" else []})

    touch("touchStart")
    for share in (0.3, 0.6, 1.0):
        touch("touchMove", share)
    touch("touchEnd")


def box_of(locator: Locator) -> FloatRect:
    box = locator.bounding_box()
    assert box is not None
    return box


def test_a_part_is_drawn_and_a_result_is_enlarged_with_fingers(visit: Visit, museum: Museum, photographs: int) -> None:
    page = visit(at(photographs), width=390, height=844, is_phone=True)
    expect(page.get_by_text(WORDS["input.photograph"])).to_be_visible()
    give(page, museum.pictures[0])
    picture_shown(page, 0)
    session = page.context.new_cdp_session(page)
    page.get_by_role("button", name=WORDS["region.open"]).click()
    area = page.locator(".area")
    expect(area).to_be_visible()
    drag(session, box_of(area), ((0.1, 0.1), (0.4, 0.4)))
    # The corner is pulled further.
    drag(session, box_of(area), ((0.4, 0.4), (0.7, 0.8)))
    selection = page.locator(".selection")
    is_now = WORDS["region.is"].replace("{x}", "10").replace("{y}", "10")
    expect(selection).to_have_attribute("aria-label", is_now.replace("{width}", "60").replace("{height}", "70"))
    page.get_by_role("button", name=WORDS["region.do"]).click()
    picture_shown(page, 0)

    page.locator("button.picture").first.click()
    pictures = page.get_by_role("dialog").locator(".side img")
    expect(pictures).to_have_count(2)
    frame = page.get_by_role("dialog").locator(".frame").first
    drag(session, box_of(frame), ((0.4, 0.5), (0.2, 0.5)), ((0.6, 0.5), (0.8, 0.5)))
    for picture in pictures.all():
        assert "scale(3)" in str(picture.get_attribute("style"))


@pytest.mark.parametrize("language", ["en", "de"])
def test_nothing_of_a_result_is_cut_off_on_a_phone(
    visit: Visit, museum: Museum, photographs: int, language: str
) -> None:
    page = visit(at(photographs), width=360, height=740, language=language)
    calibrate(page)
    give(page, museum.pictures[0])
    picture_shown(page, 0)
    lines = page.locator(".tile .caption :is(.words, .figures)")
    widths = lines.evaluate_all("lines => lines.map((line) => [line.scrollWidth, line.clientWidth, line.textContent])")
    assert len(widths) > 4
    assert [line for line in widths if line[0] > line[1]] == []

    page.locator("button.picture").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(f"{REPOSITORY}/{museum.objects[0]}".removeprefix("https://"))).to_be_visible()
    assert dialog.evaluate("(dialog) => dialog.scrollWidth <= dialog.clientWidth")
    # The wheel over a picture that has its usual size scrolls to what is below it.
    dialog.locator(".frame").first.hover()
    page.mouse.wheel(0, 300)
    page.wait_for_function("(dialog) => dialog.scrollTop > 0", arg=dialog.element_handle())
    dialog.locator(".frame").first.hover()
    page.mouse.wheel(0, -300)
    page.wait_for_function(
        "(image) => image.style.transform.includes('scale(1.2)')", arg=dialog.locator("img").first.element_handle()
    )
