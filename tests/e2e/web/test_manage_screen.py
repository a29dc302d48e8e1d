"""The web page's management of collections, in a browser: the whole job by clicking."""

from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, Route, expect

from demo.rest_client import RestClient
from tests.e2e.web.conftest import FINETUNE_SECONDS, Visit, assert_accessible, picture_name, texts
from tests.e2e.web.museum import IMAGES, MARKUP, REPOSITORY, Museum

pytestmark = pytest.mark.timeout(300)

WRONG_LINE = 73
SECONDS_BETWEEN_LOOKS, SECONDS_UNTIL_ASKED_AGAIN = 20, 5
NARROWEST = 360
# As long as real ones: host, path and the number of the object.
LONG_ENTRY = "https://collections.museum.example.org/objects/2026-000"


def enter(page: Page, key: str, words: dict[str, str]) -> None:
    """Give the page a key."""
    page.get_by_label(words["key.enter"]).fill(key)
    page.get_by_role("button", name=words["key.use"]).click()
    expect(page.get_by_text(words["key.admin"])).to_be_visible()


def upload(page: Page, csv: str, words: dict[str, str]) -> None:
    """Choose a CSV, look at its first rows, and send it."""
    file = FilePayload(name="pictures.csv", mimeType="text/csv", buffer=csv.encode())
    page.get_by_label(words["upload.choose"]).set_input_files([file])
    expect(page.locator("table.preview tr").first).to_contain_text("http")
    page.get_by_role("button", name=words["upload.do"], exact=True).click()


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_whole_job_by_clicking(visit: Visit, museum: Museum, key: str, screenshots: Path, language: str) -> None:
    words = texts(language)
    page = visit("#/manage", language=language)

    def look(screen: str) -> None:
        # Both languages have the same elements and colours.
        if language == "en":
            assert_accessible(page)
        page.screenshot(path=screenshots / f"{screen}-{language}.png", full_page=True)

    enter(page, key, words)
    page.get_by_label(words["create.name"]).fill(f"Coins {language}")
    look("manage")
    page.get_by_role("button", name=words["create.do"]).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Coins {language}")

    # A wrong line is named, and nothing changes.
    rows = [f"{museum.address}/{number % 3}.jpg,{REPOSITORY}/{number}\n" for number in range(100)]
    rows[WRONG_LINE - 1] = "no address,at all\n"
    upload(page, "".join(rows), words)
    expect(page.get_by_role("alert")).to_contain_text(words["upload.line"].replace("{line}", str(WRONG_LINE)))
    look("upload-refused")
    good = "".join(f"{museum.address}/{number}.jpg,{REPOSITORY}/{number}\n" for number in range(3))
    again = f"{museum.address}/0.jpg?again,{REPOSITORY}/again\n"
    upload(page, f"{good}{again}{museum.address}/absent.jpg,{REPOSITORY}/absent\n", words)
    expect(page.get_by_text(words["upload.done.other"].replace("{n}", "5"))).to_be_visible()

    page.get_by_role("button", name=words["finetune.do"], exact=True).click()
    expect(page.locator(".state.current")).to_be_visible(timeout=1000 * FINETUNE_SECONDS)
    failures = page.locator("details")
    expect(failures).to_contain_text(words["reason.not_found"])
    failures.locator("summary").click()
    expect(failures.get_by_role("link")).to_have_attribute("href", f"{museum.address}/absent.jpg")
    with page.expect_download() as download:
        page.get_by_role("button", name=words["failures.csv"]).click()
    assert "not_found" in download.value.path().read_text(encoding="utf-8")
    look("collection")

    # The pictures are parts of one photograph, which may be copies too.
    page.locator("a[href*='show=duplicates']").click()
    page.get_by_label(words["images.show"]).select_option("identical")
    group = page.locator(".group")
    expect(group).to_have_count(1)
    expect(group.get_by_role("heading")).to_have_text(words["duplicates.identical.other"].replace("{n}", "2"))
    expect(group).to_contain_text(words["duplicates.entries.other"].replace("{n}", "2"))
    with page.expect_download() as download:
        page.get_by_role("button", name=words["duplicates.csv"]).click()
    assert f"{REPOSITORY}/again" in download.value.path().read_text(encoding="utf-8")
    look("duplicates")
    page.get_by_role("link", name=words["duplicates.back"].replace("{name}", f"Coins {language}")).click()

    page.get_by_role("link", name=words["manage.search"]).click()
    picture = FilePayload(name="coin.jpg", mimeType="image/jpeg", buffer=museum.pictures[1])
    page.locator(".drop input").set_input_files([picture])
    expect(page.locator(".tile a").first).to_have_attribute("href", f"{REPOSITORY}/1")
    page.go_back()
    page.go_back()
    page.wait_for_selector(".facts")

    page.get_by_label(words["create.name"], exact=True).fill(f"Medals {language}")
    page.get_by_role("button", name=words["rename.do"], exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Medals {language}")
    remove = page.get_by_role("button", name=words["delete.do"])
    expect(remove).to_be_disabled()
    page.get_by_label(words["delete.confirm"].replace("{name}", f"Medals {language}")).fill(f"Medals {language}")
    remove.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(words["manage.title"])
    expect(page.get_by_text(f"Medals {language}")).to_have_count(0)


def test_images_are_looked_through_added_and_removed(
    visit: Visit, museum: Museum, client: RestClient, key: str, screenshots: Path
) -> None:
    words = texts("en")
    collection = client.create("Engravings")
    rows = [f"{museum.address}/{number % IMAGES}.jpg?{number},{REPOSITORY}/{number}\n" for number in range(26)]
    client.upload(collection, "".join(rows))
    page = visit("#/manage")
    enter(page, key, words)
    page.get_by_role("link", name="Engravings").click()
    table = page.locator("table.images tbody tr")
    expect(table).to_have_count(25)
    expect(table.first.locator(".found")).to_have_text(words["image.pending"])
    image = table.first.locator("img")
    page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())
    page.screenshot(path=screenshots / "images-1280-light.png", full_page=True)

    page.get_by_role("button", name=words["images.next"]).click()
    expect(table).to_have_count(1)
    table.get_by_role("checkbox").check()
    page.get_by_role("button", name=words["images.remove.one"].replace("{n}", "1")).click()
    # The second page is empty now.
    expect(table).to_have_count(25)
    expect(page.get_by_role("button", name=words["images.next"])).to_have_count(0)

    page.get_by_label(words["images.add.image"]).fill(f"{museum.address}/added.jpg")
    page.get_by_label(words["images.add.entry"]).fill("Inv. 12")
    page.get_by_role("button", name=words["images.add.do"], exact=True).click()
    expect(page.get_by_text(words["images.add.done"])).to_be_visible()
    page.get_by_role("button", name=words["images.next"]).click()
    expect(page.locator("table.images")).to_contain_text("Inv. 12")
    page.get_by_label(words["images.show"], exact=True).select_option("failed")
    expect(page.get_by_text(words["images.none"])).to_be_visible()


def test_the_numbers_of_entries_are_not_cut_off_on_a_phone(visit: Visit, museum: Museum, client: RestClient) -> None:
    collection = client.create("Drawings")
    client.upload(collection, "".join(f"{museum.address}/{number}.jpg,{LONG_ENTRY}{number}\n" for number in range(3)))
    page = visit(f"#/manage?collection={collection}", width=NARROWEST, height=740, is_phone=True)
    entries = page.locator("table.images tbody th a")
    expect(entries).to_have_count(3)
    heights = entries.evaluate_all("links => links.map((link) => [link.scrollHeight, link.clientHeight])")
    assert [needed <= there for needed, there in heights] == [True] * 3


def test_a_service_that_stops_is_said_and_asked_again_in_the_management(visit: Visit, empty: int, key: str) -> None:
    words = texts("en")
    page = visit(f"#/manage?collection={empty}")
    enter(page, key, words)
    page.clock.install()
    page.reload()
    expect(page.get_by_text(words["delete.about.empty"])).to_be_visible()
    page.route("**/info", lambda route: route.abort())
    page.clock.run_for(SECONDS_BETWEEN_LOOKS * 1000)
    stale = page.locator(".stale")
    expect(stale).to_have_text(f"{words['manage.stale']} {words['problem.unreachable']}")
    page.unroute_all()
    page.clock.run_for(SECONDS_UNTIL_ASKED_AGAIN * 1000)
    expect(stale).to_have_count(0)

    page.route("**/collection/list", lambda route: route.abort())
    page.get_by_role("link", name=words["manage.back"]).click()
    expect(page.get_by_role("alert")).to_contain_text(words["problem.unreachable"])
    page.unroute_all()
    page.get_by_role("button", name=words["again"]).click()
    expect(page.get_by_role("link", name="Nothing yet")).to_be_visible()


def test_an_upload_whose_answer_is_lost_is_not_said_to_have_changed_nothing(
    visit: Visit, museum: Museum, client: RestClient, key: str
) -> None:
    words = texts("en")
    page = visit(f"#/manage?collection={client.create('Maps')}")
    enter(page, key, words)

    def lose_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/updatecontent", lose_answer)
    upload(page, f"{museum.address}/0.jpg,{REPOSITORY}/0\n", words)
    expect(page.get_by_role("alert")).to_contain_text(words["upload.perhaps"])
    expect(page.locator(".facts dd").first).to_have_text("1")
    page.unroute_all()
    page.route(
        "**/updatecontent", lambda route: route.fulfill(status=413, content_type="text/html", body="<h1>nginx</h1>")
    )
    upload(page, f"{museum.address}/1.jpg,{REPOSITORY}/1\n", words)
    expect(page.get_by_role("alert")).to_contain_text(f"{words['problem.too_large']}{words['upload.unchanged']}")


def test_a_wrong_key_is_refused_in_words(visit: Visit, empty: int) -> None:
    words = texts("en")
    page = visit(f"#/manage?collection={empty}")
    page.get_by_label(words["key.enter"]).fill("wrong.key")
    page.get_by_role("button", name=words["key.use"]).click()
    expect(page.get_by_role("alert")).to_have_text(words["key.wrong"])
    expect(page.get_by_text(words["delete.title"])).to_have_count(0)


def test_the_key_ends_with_the_tab(visit: Visit, empty: int, key: str) -> None:
    words = texts("en")
    page = visit("#/manage")
    enter(page, key, words)
    page.reload()
    expect(page.get_by_text(words["key.admin"])).to_be_visible()
    assert page.evaluate("JSON.stringify(localStorage)").find(key) == -1
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_label(words["key.enter"])).to_be_visible()


def test_no_text_of_a_collection_is_taken_for_markup_in_the_management(visit: Visit, hostile: int, key: str) -> None:
    page = visit("#/manage")
    enter(page, key, texts("en"))
    page.get_by_role("link", name=MARKUP).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(MARKUP)
    failures = page.locator("details")
    failures.locator("summary").click()
    expect(failures.get_by_role("link")).to_contain_text("<script>")
    assert page.evaluate("window.injected") is None
    assert page.locator("main script, main img[src=x]").count() == 0


@pytest.mark.parametrize(
    ("width", "theme"), [(NARROWEST, "light"), (NARROWEST, "dark"), (1366, "dark"), (3840, "light")]
)
def test_the_management_fits_every_width(
    visit: Visit, museum: Museum, hostile: int, key: str, screenshots: Path, width: int, theme: str
) -> None:
    page = visit("#/manage", width=width, height=800, theme=theme)
    enter(page, key, texts("en"))
    for screen in ("manage", "collection"):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # The other widths have the same elements and colours.
        if width == NARROWEST:
            assert_accessible(page)
        page.screenshot(path=screenshots / picture_name(f"{screen}-{width}-{theme}", width), full_page=True)
        if screen == "manage":
            page.get_by_role("link", name=MARKUP).click()
            expect(page.locator(".facts")).to_be_visible()
