"""What the web page says of a search: headline, words and figures agree."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.web.conftest import Visit, assert_accessible, texts
from tests.e2e.web.museum import REPOSITORY, Museum
from tests.e2e.web.test_search_screen import at, calibrate, give, picture_shown

pytestmark = pytest.mark.timeout(300)

# 60 % of the searches for something else find a best result this similar.
HIGH_RATE = 0.6


def answer(page: Page, *results: dict[str, Any]) -> None:
    """Let each search have these results."""

    def respond(route: Route) -> None:
        route.fulfill(json={"results": list(results), "skipped": [], "index_id": 1, "next_offset": None})

    page.route("**/search", respond)


def result(museum: Museum, number: int, *, percentile: float | None, rate: float | None) -> dict[str, Any]:
    return {
        "image_id": number + 1,
        "image_url": f"{museum.address}/{number}.jpg",
        "repo_url": f"{REPOSITORY}/{number}",
        "score": 0.5,
        "percentile": percentile,
        "false_match_rate": rate,
    }


@pytest.mark.parametrize(("language", "theme", "width"), [("en", "light", 1280), ("de", "dark", 360)])
def test_a_picture_that_is_not_here_is_said_not_to_be_here(
    visit: Visit, museum: Museum, photographs: int, screenshots: Path, language: str, theme: str, width: int
) -> None:
    words = texts(language)
    page = visit(at(photographs), language=language, theme=theme, width=width)
    calibrate(page, results=8, best_rate=HIGH_RATE)
    give(page, museum.pictures[0])
    picture_shown(page, 0)
    verdict = page.locator(".verdict")
    expect(verdict.locator(".headline")).to_have_text(words["verdict.unclear"])
    in_ten = words["rate.in_ten"].replace("{count}", "6")
    expect(verdict).to_contain_text(words["verdict.unclear.why"].replace("{rate}", in_ten))

    # Percentiles from 100 down are extremely, very and quite similar. Their words would contradict the headline.
    said = page.locator(".tile .words").all_inner_texts()
    assert len(said) > 1
    assert set(said) == {words["likeness.only"]}
    first = page.locator(".tile").first
    expect(first.locator("img")).to_have_attribute("alt", f"{_described(words, words['likeness.only'])}{_name(museum)}")
    assert_accessible(page)
    page.screenshot(path=screenshots / f"not-here-{width}-{theme}.png")

    first.locator("button.picture").click()
    strong = page.get_by_role("dialog").locator("dl strong")
    expect(strong).to_have_text([words["certainty.unclear"], words["likeness.only"]])
    page.screenshot(path=screenshots / f"not-here-compared-{width}-{theme}.png")


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_words_of_each_result_agree_with_its_rate(
    visit: Visit, museum: Museum, photographs: int, language: str
) -> None:
    words = texts(language)
    page = visit(at(photographs), language=language)
    figures = [(100, 0.0004), (99.95, 0.03), (99.95, 0.2), (99.95, 0.3), (85, 0.9), (10, 1), (99.5, None), (None, None)]
    answer(page, *(result(museum, number, percentile=one, rate=rate) for number, (one, rate) in enumerate(figures)))
    give(page, museum.pictures[0])
    picture_shown(page, 0)
    keys = ["match.sure", "match.probable", "match.possible", "likeness.only", "likeness.somewhat", "likeness.hardly"]
    wanted = [words[key] for key in (*keys, "likeness.very", "likeness.unknown")]
    expect(page.locator(".tile .words")).to_have_text(wanted)
    # A picture's text stands alone, so that it says more.
    full = page.locator(".tile img").first.get_attribute("alt")
    assert full == f"{_described(words, words['certainty.sure'])}{_name(museum, '0')}"

    # In the comparison, likeness says no more than the rate beside it.
    page.locator("button.picture").first.click()
    dialog = page.get_by_role("dialog")
    beside = [("certainty.sure", "likeness.extremely"), ("certainty.probable", "likeness.very")]
    beside += [("certainty.possible", "likeness.quite"), ("certainty.unclear", "likeness.only")]
    for pair in beside:
        expect(dialog.locator("dl strong")).to_have_text([words[key] for key in pair])
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")

    # Where nothing was measured, there are no figures to read out.
    page.locator("button.picture").nth(len(figures) - 1).click()
    expect(dialog).to_contain_text(words["compare.likeness.unknown"])
    expect(dialog).to_contain_text(words["compare.rate.unknown"])


def test_the_headline_is_that_of_the_surest_result_of_all_collections(
    visit: Visit, museum: Museum, photographs: int, hostile: int
) -> None:
    """Results of several collections come by percentile, so that the first one need not be the surest."""
    words = texts("en")
    page = visit(at(photographs))
    results = [result(museum, number, percentile=100 - number, rate=rate) for number, rate in enumerate((0.6, 0.03))]
    answer(
        page,
        *(one | {"collection_id": collection} for one, collection in zip(results, (photographs, hostile), strict=True)),
    )
    page.get_by_label(words["collection"]).select_option("all")
    give(page, museum.pictures[0])
    headline = page.locator(".verdict .headline")
    expect(headline).to_have_text(words["verdict.probable.all"])
    expect(page.locator(".tile .words")).to_have_text([words["likeness.only"], words["match.probable"]])
    page.unroute_all()
    answer(page, *(one | {"false_match_rate": HIGH_RATE, "collection_id": photographs} for one in results))
    give(page, museum.pictures[1])
    expect(headline).to_have_text(words["verdict.unclear.all"])


def test_a_description_has_no_words_of_certainty(visit: Visit, museum: Museum, photographs: int) -> None:
    """The best result of a description always has a high percentile, also if no picture fits."""
    words = texts("en")
    page = visit()
    answer(page, *(result(museum, number, percentile=99.9 - number, rate=None) for number in range(2)))
    page.goto(f"{page.url.partition('#')[0]}{at(photographs)}&text=a+ship+in+a+storm")
    fits = [
        words["likeness.fit"].replace("{figure}", words["figure.percent"].replace("{value}", figure))
        for figure in ("99.9", "98.9")
    ]
    expect(page.locator(".tile .words")).to_have_text(fits)
    expect(page.locator(".verdict .headline")).to_have_text(words["verdict.text"])
    expect(page.locator(".rows")).not_to_contain_text(words["result.percentile"].partition(" ")[0])
    page.locator("button.picture").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(words["compare.rate.text"])
    expect(dialog).to_contain_text(
        words["compare.fit.figure"].replace("{figure}", words["figure.percent"].replace("{value}", "99.9"))
    )


def _described(words: dict[str, str], said: str) -> str:
    return words["result.description"].replace("{place}", "1").replace("{words}", said).replace("{name}", "")


def _name(museum: Museum, entry: str | None = None) -> str:
    return f"{REPOSITORY}/{museum.objects[0] if entry is None else entry}".removeprefix("https://")
