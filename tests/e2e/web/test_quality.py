"""What a finetune brought, on the web page: plots, and the same in words."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.web.conftest import Visit, assert_accessible, texts

pytestmark = pytest.mark.timeout(300)

BINS = 40


def hill(middle: int, width: int) -> list[float]:
    """Return the shares of scores in each part of their range: a hill around a part."""
    heights = [max(0.0, 1 - abs(part - middle) / width) for part in range(BINS)]
    return [height / sum(heights) for height in heights]


def quality(views: float, entries: float) -> dict[str, object]:
    """Return what a finetune of a large collection measures. Those of the tests are too small for it.

    views, entries: how often the right picture comes first, 0 to 1.
    """
    before = {"recall_at_1": 0.5}
    parts = {
        "views": {"frozen": before, "adapter": {"recall_at_1": views, "scores": hill(36, 3)}},
        "groups_seen": {"frozen": before, "adapter": {"recall_at_1": entries, "scores": hill(20, 12)}},
    }
    return {"adapter": "learned", "parts": parts, "unrelated_scores": hill(14, 10)}


def measure(page: Page) -> None:
    """Let a collection have the figures of a large one that was finetuned three times."""

    def info(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"quality": quality(0.93, 0.8)})

    def indexes(route: Route) -> None:
        index = route.fetch().json()["indexes"][0]
        # The newest one comes first.
        days = {"2026-03-01": quality(0.93, 0.8), "2026-02-01": {}, "2026-01-01": quality(0.84, 0.6)}
        found = [index | {"published_at": f"{day}T12:00:00+00:00", "quality": one} for day, one in days.items()]
        route.fulfill(json={"indexes": found})

    page.route("**/info", info)
    page.route("**/indexes", indexes)


@pytest.mark.parametrize(("language", "theme", "width"), [("en", "light", 1280), ("de", "dark", 360)])
def test_what_a_finetune_brought_is_plotted_and_said(
    visit: Visit, photographs: int, screenshots: Path, language: str, theme: str, width: int
) -> None:
    words = texts(language)
    page = visit("#/help", language=language, theme=theme, width=width)
    measure(page)
    page.goto(f"{page.url.partition('#')[0]}#/manage?collection={photographs}")
    first = words["quality.first"].replace("{before}", "50")
    expect(page.locator(".quality")).to_contain_text(first.replace("{after}", "93"))
    expect(page.locator(".quality")).to_contain_text(first.replace("{after}", "80"))

    # The hills of entries overlap, those of distorted copies do not. Their words say so.
    plot = page.locator(".quality .plot")
    overlap = str(plot.get_by_role("img").get_attribute("aria-label"))
    begin, _, end = words["scores.overlap.other"].partition("{n}")
    assert overlap.startswith(begin)
    assert overlap.endswith(end)
    assert 50 < int(overlap.removeprefix(begin).removesuffix(end)) < 300
    expect(plot.locator("figcaption")).to_contain_text(words["quality.groups_seen"])
    before = plot.locator("path.related").get_attribute("d")
    page.get_by_label(words["scores.related"]).select_option("views")
    expect(plot.get_by_role("img")).to_have_attribute("aria-label", words["scores.apart"])
    expect(plot.locator("path.related")).not_to_have_attribute("d", str(before))

    # A finetune without figures is left out of the history.
    history = page.locator(".history")
    expect(history.locator("figcaption")).to_contain_text(f"{words['quality.views']}: 84 → 93")
    expect(history.locator("figcaption")).to_contain_text(f"{words['quality.groups_seen']}: 60 → 80")
    expect(history.locator(".point")).to_have_count(4)
    history.locator("summary").click()
    expect(history.locator("tbody tr")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert_accessible(page)
    page.screenshot(path=screenshots / f"quality-{width}-{theme}.png", full_page=True)
