"""The web page's search, in a browser: what a visitor does, sees and is told."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, Route, expect

from tests.e2e.running_instance import RunningInstance
from tests.e2e.web.conftest import PHOTOGRAPHS, Visit, assert_accessible, picture_name, texts
from tests.e2e.web.museum import IMAGES, MARKUP, REPOSITORY, Museum

pytestmark = pytest.mark.timeout(300)

DOCS = Path(__file__).resolve().parents[3] / "docs"
MOST_LAYOUT_SHIFT = 0.02
WIDTHS = {"phone": (360, 740), "laptop": (1366, 850), "4k": (3840, 2160)}
LAYOUT_SHIFTS = """() => {
  window.shift = 0;
  window.shifted = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries().filter((one) => !one.hadRecentInput)) {
      window.shift += entry.value;
      window.shifted.push(...entry.sources.map(({ node }) => node?.outerHTML?.slice(0, 80)));
    }
  }).observe({ type: "layout-shift", buffered: true });
}"""


def at(collection: int) -> str:
    """Return the address of the search in a collection."""
    return f"#/search?collection={collection}"


def give(page: Page, jpeg: bytes, name: str = "photo.jpg") -> None:
    """Choose a picture on the search screen."""
    page.locator(".drop input").set_input_files([FilePayload(name=name, mimeType="image/jpeg", buffer=jpeg)])


def calibrate(page: Page, *, results: int = IMAGES, best_rate: float = 0.0004) -> None:
    """Let answers have the figures that a large collection has, and this many results.

    The search is real: its images, their order and the links. Replaced are `percentile` and `false_match_rate`, because
    rates are measured from 40 images on, whose finetune takes some 40 s of CPU time, and because the tests need each
    word of the scale. More results than the collection has are its results again. What the page says where
    nothing was measured is tested with the real answers, in the tests that do not call this. best_rate: the false match
    rate of the first result; that of each further one is four times as high.
    """

    def answer(route: Route) -> None:
        found = route.fetch().json()
        real = found["results"]
        found["results"] = [
            {
                **real[place % len(real)],
                "image_id": real[place]["image_id"] if place < len(real) else 1_000_000 + place,
                "percentile": 100 - 0.5 * place,
                "false_match_rate": min(1, best_rate * 4**place),
            }
            for place in range(results)
        ]
        route.fulfill(json=found)

    page.route("**/search", answer)


def picture_shown(page: Page, place: int) -> None:
    """Wait until the picture of a result is there."""
    image = page.locator(".tile .picture img").nth(place)
    expect(image).to_be_visible()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_visitor_finds_a_picture_and_its_entry(visit: Visit, museum: Museum, photographs: int, language: str) -> None:
    words = texts(language)
    page = visit(at(photographs), language=language)
    expect(page.locator("html")).to_have_attribute("lang", language)
    expect(page.get_by_role("heading", level=1)).to_have_text(words["search.title"])
    calibrate(page)
    give(page, museum.pictures[0])

    expect(page.locator(".verdict .headline")).to_have_text(words["verdict.sure"])
    picture_shown(page, 0)
    first = page.locator(".tile").first
    expect(first.locator("a")).to_have_attribute("href", f"{REPOSITORY}/{museum.objects[0]}")
    expect(first.locator(".words")).to_have_text(words["match.sure"])
    expect(first.locator(".figures").first).to_contain_text("100")

    # Compare, go on by keyboard, and close.
    first.locator("button.picture").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.locator(".side img")).to_have_count(2)
    title = words["compare.title"].replace("{all}", str(len(museum.pictures)))
    expect(dialog.get_by_role("heading")).to_have_text(title.replace("{place}", "1"))
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading")).to_have_text(title.replace("{place}", "2"))
    dialog.get_by_role("button", name=words["compare.zoom_in"]).click()
    dialog.get_by_role("button", name=words["compare.swipe"]).click()
    expect(dialog.get_by_label(words["compare.swipe.label"])).to_be_visible()
    assert_accessible(page)
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    assert_accessible(page)

    # The threshold filters what is there, without a new search, and stays in the address.
    shown = page.locator(".threshold [role=status]")
    before = shown.inner_text()
    page.get_by_label(words["threshold"]).press("End")
    expect(shown).not_to_have_text(before)
    assert "at_least=" in page.url
    page.get_by_label(words["threshold"]).press("Home")
    expect(shown).to_have_text(before)


def test_back_returns_to_the_search_before(visit: Visit, museum: Museum, photographs: int) -> None:
    page = visit(at(photographs))
    for number in (0, 4):
        give(page, museum.pictures[number], f"{number}.jpg")
        expect(page.locator("figure.query figcaption")).to_have_text(f"{number}.jpg")
        picture_shown(page, 0)
    page.go_back()
    expect(page.locator("figure.query figcaption")).to_have_text("0.jpg")
    entry = page.locator(".tile a").first
    expect(entry).to_have_attribute("href", f"{REPOSITORY}/{museum.objects[0]}")
    page.go_back()
    expect(page.get_by_text(texts("en")["input.prompt"])).to_be_visible()


def test_back_shows_the_results_where_they_were(visit: Visit, museum: Museum, photographs: int) -> None:
    page = visit(at(photographs))
    calibrate(page, results=100)
    searches: list[str] = []
    page.on("request", lambda request: searches.append(request.url) if request.url.endswith("/search") else None)
    give(page, museum.pictures[0])
    picture_shown(page, 0)
    for _ in range(4):
        page.mouse.wheel(0, 500)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    before = page.evaluate("scrollY")
    assert before > 1000
    page.evaluate("document.querySelector('header nav a:last-child').click()")
    expect(page.locator(".help")).to_be_visible()
    page.wait_for_function("scrollY === 0")
    page.go_back()
    page.wait_for_function("before => scrollY === before", arg=before)
    picture_shown(page, 0)
    assert len(searches) == 1


def test_a_picture_can_be_pasted_and_dropped(visit: Visit, museum: Museum, photographs: int) -> None:
    page = visit(at(photographs))
    for event in ("paste", "drop"):
        page.evaluate(
            """([event, bytes]) => {
              const transfer = new DataTransfer();
              transfer.items.add(new File([new Uint8Array(bytes)], `${event}.jpg`, { type: "image/jpeg" }));
              const made = event === "paste"
                ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
                : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
              document.body.dispatchEvent(made);
            }""",
            [event, list(museum.pictures[2])],
        )
        expect(page.locator("figure.query figcaption")).to_have_text(f"{event}.jpg")
        picture_shown(page, 0)


def test_the_search_works_by_keyboard_alone(visit: Visit, museum: Museum, photographs: int) -> None:
    page = visit(at(photographs))
    calibrate(page)
    give(page, museum.pictures[1])
    picture_shown(page, 0)
    page.get_by_label(texts("en")["threshold"]).focus()
    page.keyboard.press("Tab")
    expect(page.get_by_label(texts("en")["group"])).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".tile button.picture").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".tile button.picture").first).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".tile a").first).to_be_focused()


def test_the_gallery_does_not_jump_while_pictures_load(visit: Visit, museum: Museum, photographs: int) -> None:
    page = visit(at(photographs))
    calibrate(page, results=100)
    page.evaluate(LAYOUT_SHIFTS)
    give(page, museum.pictures[0])
    picture_shown(page, 0)
    for _ in range(12):
        page.mouse.wheel(0, 900)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(page.locator(".tile").last).to_have_attribute("aria-posinset", "100")
    assert page.evaluate("window.shift") <= MOST_LAYOUT_SHIFT, page.evaluate("window.shifted")


def test_the_page_makes_sense_without_pictures(visit: Visit, museum: Museum, photographs: int) -> None:
    page = visit(at(photographs))
    page.route(f"{museum.address}/**", lambda route: route.abort())
    give(page, museum.pictures[0])
    first = page.locator(".tile").first
    expect(first).to_contain_text(museum.objects[0])
    expect(first).to_contain_text(texts("en")["result.no_picture"])
    expect(first.locator("a")).to_have_attribute("href", f"{REPOSITORY}/{museum.objects[0]}")


def test_no_text_in_place_of_a_picture_is_cut_off_on_a_phone(visit: Visit, museum: Museum, photographs: int) -> None:
    page = visit(at(photographs), language="de", width=360, height=740, is_phone=True)
    page.route(f"{museum.address}/**", lambda route: route.abort())
    calibrate(page, results=4)
    give(page, museum.pictures[0])
    texts_shown = page.locator(".tile .missing")
    expect(texts_shown.first).to_contain_text(museum.objects[0])
    heights = texts_shown.evaluate_all("texts => texts.map((text) => [text.scrollHeight, text.clientHeight])")
    assert len(heights) > 1
    assert [needed <= there for needed, there in heights] == [True] * len(heights)


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_file_that_is_no_picture_is_named(visit: Visit, photographs: int, language: str) -> None:
    page = visit(at(photographs), language=language)
    give(page, b"%PDF-1.7 no picture", "letter.jpg")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(texts(language)["problem.not_an_image"])
    # To search for the same file again would not help.
    expect(alert.get_by_role("button")).to_have_count(0)


def test_a_collection_that_was_not_finetuned_says_what_to_do(visit: Visit, photographs: int, empty: int) -> None:
    page = visit(at(empty))
    expect(page.get_by_role("status").first).to_contain_text(texts("en")["state.not_finetuned"])
    expect(page.locator(".drop")).to_have_count(0)
    assert_accessible(page)


def test_a_busy_service_is_asked_again(visit: Visit, museum: Museum, photographs: int) -> None:
    page = visit(at(photographs))
    refused: list[Route] = []

    def refuse_once(route: Route) -> None:
        refused.append(route)
        if len(refused) > 1:
            route.continue_()
            return
        problem = {"code": "overloaded", "message": "Too many searches."}
        route.fulfill(status=429, headers={"Retry-After": "1"}, json=problem)

    page.route("**/search", refuse_once)
    give(page, museum.pictures[0])
    picture_shown(page, 0)
    assert len(refused) == 2


def test_a_service_that_is_gone_is_said_in_words(visit: Visit, museum: Museum, photographs: int) -> None:
    page = visit(at(photographs))
    page.route("**/search", lambda route: route.abort())
    give(page, museum.pictures[0])
    expect(page.get_by_role("alert")).to_contain_text(texts("en")["problem.unreachable"])
    page.context.set_offline(True)
    page.get_by_role("button", name=texts("en")["again"]).click()
    expect(page.get_by_role("alert")).to_contain_text(texts("en")["problem.offline"])


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_that_answers_for_a_service_that_is_gone_is_understood(
    visit: Visit, museum: Museum, photographs: int, status: int
) -> None:
    """Reloading the page would lose the picture, so the page must not ask for that."""
    words = texts("en")
    page = visit(at(photographs))
    page.route("**/search", lambda route: route.fulfill(status=status, content_type="text/html", body="<h1>nginx</h1>"))
    give(page, museum.pictures[0])
    notice = page.locator(".notice")
    expect(notice).to_contain_text(words["problem.unreachable"])
    expect(notice.get_by_role("heading")).to_have_text(words["state.unavailable"])
    page.unroute_all()
    page.get_by_role("button", name=words["again"]).click()
    picture_shown(page, 0)


def test_no_text_of_a_collection_is_taken_for_markup(visit: Visit, museum: Museum, hostile: int) -> None:
    page = visit(at(hostile))
    expect(page.locator("#collection option:checked")).to_have_text(MARKUP)
    give(page, museum.pictures[0], MARKUP.replace("/", "_"))
    picture_shown(page, 0)
    expect(page.locator(".tile .plain").first).to_have_text(MARKUP)
    page.locator("button.picture").first.click()
    expect(page.get_by_role("dialog")).to_contain_text(MARKUP)
    assert page.evaluate("window.injected") is None
    links = page.evaluate("[...document.querySelectorAll('a')].map((link) => link.href)")
    assert all(link.startswith(("http://", "https://")) for link in links)
    assert page.locator("main script, main img[src=x]").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", WIDTHS)
def test_every_screen_is_accessible_and_can_be_looked_at(
    visit: Visit, museum: Museum, photographs: int, screenshots: Path, theme: str, size: str
) -> None:
    """Pictures of each screen are in build/screenshots."""
    width, height = WIDTHS[size]
    page = visit(at(photographs), language="de" if theme == "dark" else "en", theme=theme, width=width, height=height)

    def look(screen: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # The largest size has the same elements and colours.
        if size != "4k":
            assert_accessible(page)
        page.screenshot(path=screenshots / picture_name(f"{screen}-{size}-{theme}", width))

    expect(page.locator(".drop")).to_be_visible()
    look("start")
    calibrate(page)
    give(page, museum.pictures[8])
    picture_shown(page, 3)
    look("results")
    page.locator("button.picture").nth(1).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    look("compare")
    page.keyboard.press("Escape")
    page.get_by_role("link", name=texts("de" if theme == "dark" else "en")["screen.help"]).click()
    expect(page.locator(".help")).to_be_visible()
    look("help")


def test_a_search_by_id_and_by_url_is_repeated_by_its_address(visit: Visit, museum: Museum, photographs: int) -> None:
    words = texts("en")
    page = visit(at(photographs))
    page.get_by_label(words["input.url"]).fill("museum/0.jpg")
    page.get_by_role("button", name=words["search"], exact=True).click()
    expect(page.get_by_role("alert")).to_have_text(words["input.url.wrong"])
    page.get_by_label(words["input.url"]).fill(f"{museum.address}/0.jpg")
    page.get_by_role("button", name=words["search"], exact=True).click()
    entry = page.locator(".tile a").first
    expect(entry).to_have_attribute("href", f"{REPOSITORY}/{museum.objects[0]}")
    page.reload()
    expect(entry).to_have_attribute("href", f"{REPOSITORY}/{museum.objects[0]}")

    expect(page.locator(".verdict")).to_contain_text(words["verdict.unknown.why"])
    expect(page.get_by_text(words["results.unmeasured"])).to_have_count(0)
    page.locator(".tile").nth(1).get_by_role("button", name=words["result.similar"]).click()
    expect(page.locator(".verdict .headline")).to_have_text(words["verdict.similar"])
    picture_shown(page, 0)
    found = entry.get_attribute("href")
    assert "image_id=" in page.url
    # So few pictures are not calibrated. That is said once, and not on each picture.
    expect(page.get_by_text(words["results.unmeasured"])).to_be_visible()
    expect(page.locator(".rows")).not_to_contain_text(words["figure.unknown"])
    page.reload()
    expect(entry).to_have_attribute("href", str(found))


def test_a_part_of_a_picture_is_searched_for(visit: Visit, museum: Museum, photographs: int) -> None:
    words = texts("en")
    page = visit(at(photographs))
    give(page, museum.pictures[0])
    page.get_by_role("button", name=words["region.open"]).click()
    area = page.locator(".area")
    expect(area).to_be_visible()
    box = area.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.6 * box["height"], steps=3)
    page.mouse.up()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    assert_accessible(page)
    with page.expect_request("**/search") as request:
        page.get_by_role("button", name=words["region.do"]).click()
    body = request.value.post_data_json
    assert body is not None
    region = body["region"]
    wanted = {"x": 0.12, "y": 0.1, "width": 0.4, "height": 0.52}
    assert {name: round(value, 2) for name, value in region.items()} == pytest.approx(wanted, abs=0.02)
    picture_shown(page, 0)
    expect(page.locator(".part")).to_be_visible()

    # A part of a picture of the collection, which the service downloads. The picture itself is not found.
    page.locator(".tile").first.get_by_role("button", name=words["result.similar"]).click()
    page.get_by_role("button", name=words["region.open"]).click()
    with page.expect_request("**/search") as request:
        page.get_by_role("button", name=words["region.do"]).click()
    body = request.value.post_data_json
    assert body is not None
    assert body["exclude"] == [body["image_id"]]
    picture_shown(page, 0)
    expect(page.locator(".tile").first).to_have_attribute("aria-setsize", str(IMAGES - 1))


def test_results_are_asked_to_be_more_and_less_like_others(visit: Visit, museum: Museum, photographs: int) -> None:
    words = texts("en")
    page = visit(at(photographs))
    give(page, museum.pictures[0])
    picture_shown(page, 2)
    verdict = page.locator(".verdict")
    expect(verdict).not_to_contain_text(words["verdict.examples"])
    unwanted = page.locator(".tile .picture img").nth(2).get_attribute("src")
    page.locator(".tile").nth(2).get_by_role("button", name=words["result.less"]).click()
    expect(page.locator(".examples li.less")).to_have_count(1)
    expect(verdict.locator(".headline")).to_have_text(words["verdict.examples"])
    expect(verdict).to_contain_text(words["verdict.examples.less"])
    # Nothing was measured, so that nothing can be estimated.
    expect(verdict).not_to_contain_text(words["verdict.estimate.examples"])
    picture_shown(page, 0)
    assert unwanted not in [image.get_attribute("src") for image in page.locator(".tile .picture img").all()]
    page.locator(".tile").first.get_by_role("button", name=words["result.more"]).click()
    expect(page.locator(".examples li")).to_have_count(2)
    picture_shown(page, 0)
    assert_accessible(page)
    calibrate(page)
    page.locator(".examples li.less button").click()
    expect(page.locator(".examples li")).to_have_count(1)
    expect(verdict.locator(".headline")).to_have_text(words["verdict.examples"])
    expect(verdict).to_contain_text(words["verdict.examples.why"])
    expect(verdict).to_contain_text(words["verdict.estimate.examples"])
    page.locator(".examples button").click()
    expect(page.locator(".examples li")).to_have_count(0)
    expect(verdict.locator(".headline")).to_have_text(words["verdict.sure"])


def test_a_picture_that_cannot_be_downloaded_is_said_in_words(visit: Visit, museum: Museum, photographs: int) -> None:
    words = texts("de")
    page = visit(f"{at(photographs)}&image_url={museum.address}/absent.jpg", language="de")
    reason = words["problem.download"].replace("{reason}", words["reason.not_found"])
    expect(page.get_by_role("alert")).to_contain_text(reason)


def test_results_can_be_entries_of_all_collections(
    visit: Visit, museum: Museum, photographs: int, hostile: int, empty: int, screenshots: Path
) -> None:
    words = texts("en")
    page = visit(at(photographs))
    give(page, museum.pictures[0])
    tiles = page.locator(".tile")
    expect(tiles.first).to_have_attribute("aria-setsize", str(IMAGES))
    page.get_by_label(words["group"]).check()
    expect(tiles.first).to_have_attribute("aria-setsize", str(len(set(museum.objects))))
    views = museum.objects.count(museum.objects[0])
    expect(tiles.first).to_contain_text(words["result.views.other"].replace("{n}", str(views)))
    give(page, museum.pictures[1])
    expect(page.get_by_label(words["group"])).to_be_checked()
    expect(tiles.first).to_have_attribute("aria-setsize", str(len(set(museum.objects))))

    page.get_by_label(words["collection"]).select_option("all")
    expect(page.locator(".rows")).to_contain_text(PHOTOGRAPHS)
    expect(page.get_by_text(words["results.skipped"].replace("{names}", ""))).to_contain_text("Nothing yet")
    assert_accessible(page)
    page.screenshot(path=screenshots / "all-collections.png")
    tiles.first.get_by_role("button", name=words["result.similar"]).click()
    expect(page.locator("#collection")).not_to_have_value("all")
    picture_shown(page, 0)


def measured(rate: float) -> Callable[[Route], None]:
    """Return what lets the first result of an element's search have a high percentile and this false match rate."""

    def answer(route: Route) -> None:
        found = route.fetch()
        route.fulfill(response=found, json=[found.json()[0] | {"percentile": 100, "false_match_rate": rate}])

    return answer


def test_a_page_of_another_site_shows_what_is_similar_and_searches(
    visit: Visit, instance: RunningInstance, museum: Museum, photographs: int, hostile: int, screenshots: Path
) -> None:
    """The page is that of the documents. Its policy is strict."""
    page = visit()
    service = instance.address
    item = (DOCS / "embed.html").read_text(encoding="utf-8").replace("http://127.0.0.1:8080", service)
    item = item.replace('similar collection="1"', f'similar collection="{photographs}"')
    item = item.replace('count="6"', 'count="6" min-percentile="0"')
    item = item.replace('search collection="1"', f'search collection="{hostile}"')
    item = item.replace("https://repository.example.org/coins/1", f"{REPOSITORY}/{museum.objects[0]}")
    policy = f"default-src 'none'; script-src {service}; connect-src {service}; img-src {museum.address}; "
    policy += "style-src 'unsafe-inline'; require-trusted-types-for 'script'"
    museum.item = item
    museum.item_headers = {"Content-Security-Policy": policy, "Cross-Origin-Embedder-Policy": "credentialless"}
    page.goto(f"{museum.address}/item")

    # All views of the entry ask, so that only other entries are found.
    similar = page.locator("similis-similar a")
    expect(similar).to_have_count(len(set(museum.objects)) - 1)
    assert f"{REPOSITORY}/{museum.objects[0]}" not in [link.get_attribute("href") for link in similar.all()]
    page.wait_for_function("image => image.naturalWidth > 0", arg=similar.first.locator("img").element_handle())

    page.evaluate("document.querySelector('similis-similar').setAttribute('min-percentile', '80')")
    expect(similar).not_to_have_count(len(set(museum.objects)) - 1)

    picture = FilePayload(name="0.jpg", mimeType="image/jpeg", buffer=museum.pictures[0])
    chosen, found = page.locator("similis-search input"), page.locator("similis-search li")
    # The words agree with the false match rate.
    captions = {
        0.0004: "Very probably a match",
        0.0252: "Probably a match",
        0.1: "Perhaps a match",
        0.3: "Only similar",
    }
    for rate, caption in captions.items():
        page.route("**/search?*", measured(rate))
        chosen.set_input_files([picture])
        expect(found).to_contain_text([caption])
        page.unroute_all()
    chosen.set_input_files([picture])
    expect(found).to_have_count(2)
    expect(found.first).to_contain_text(MARKUP)
    expect(page.locator("similis-search a")).to_have_count(0)
    assert page.evaluate("window.injected") is None
    assert_accessible(page)
    page.screenshot(path=screenshots / "embed.png", full_page=True)
    letter = FilePayload(name="letter.jpg", mimeType="image/jpeg", buffer=b"%PDF-1.7 no picture")
    chosen.set_input_files([letter])
    expect(page.locator("similis-search [role=status]")).to_contain_text("not a picture")
