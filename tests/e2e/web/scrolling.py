"""Scroll through many results, and trace the frames."""

from collections.abc import Callable

from playwright.sync_api import Browser, Page, expect

from tests.e2e.web.frames import CATEGORIES, Frames
from tests.e2e.web.museum import IMAGES, REPOSITORY

# Pixels in a second, faster than a reader can follow. The browser makes the gesture itself: steps that a test sends
# would come at the test's pace, and so would the frames.
SPEED = 8000
# Pixels of one gesture.
FAR = 8000
# Answers searches in the page itself: requests that Playwright answers would take most of the time.
ANSWERS = """([host, entries, images, most]) => {
  const real = window.fetch;
  const result = (place) => ({
    image_id: place + 1,
    image_url: `${host}/${place % images}.jpg?${place}`,
    repo_url: `${entries}/${place}`,
    score: 0.9,
    percentile: Math.max(0, 100 - place / 40),
    false_match_rate: Math.min(1, place / 100),
  });
  window.fetch = async (address, options) => {
    if (!String(address).endsWith("/search")) return real(address, options);
    const { offset, num_results: count } = JSON.parse(options.body);
    const results = Array.from({ length: count }, (_, at) => result(offset + at));
    const next = offset + count < most ? offset + count : null;
    return new Response(JSON.stringify({ results, index_id: 1, next_offset: next }));
  };
}"""


def scrolled(browser: Browser, page: Page, host: str, results: int, search: Callable[[], None]) -> Frames:
    """Search, scroll to the last of so many results, and return the frames of the way.

    The results are made up, because no collection of tests is that large; the pictures are real. host: of the museum.
    search: begins a search on the page.
    """
    page.evaluate(ANSWERS, [host, REPOSITORY, IMAGES, results])
    search()
    last = page.locator(".tile").last
    expect(last).to_be_visible()
    size = page.viewport_size or {"width": 0, "height": 0}
    gesture = {
        "x": size["width"] // 2,
        "y": size["height"] // 2,
        "yDistance": -FAR,
        "speed": SPEED,
        "gestureSourceType": "mouse",
    }
    devtools = page.context.new_cdp_session(page)
    browser.start_tracing(page=page, categories=CATEGORIES)
    for _ in range(results):
        devtools.send("Input.synthesizeScrollGesture", gesture)
        if last.get_attribute("aria-posinset") == str(results):
            break
    frames = Frames.of(browser.stop_tracing())
    expect(last).to_have_attribute("aria-posinset", str(results))
    return frames
