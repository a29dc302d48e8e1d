"""How smoothly the web page scrolls through thousands of results: the frames in a trace of Chromium.

`python -m bench.page_scroll http://127.0.0.1:8080` uses the page of a running service, whose first collection has been
finetuned. The results are made up, their pictures are those of the demo. It exits with 1 if a frame, or a task of the
page's main thread, took more than 50 ms. Run it on an idle machine: other programs make frames longer. With
`--width 3840 --height 2160` the screen is a 4K one, with `--width 360 --height 740` a phone's.
"""

import argparse
import sys

from playwright.sync_api import FilePayload, sync_playwright

from tests.e2e.web.conftest import ARGUMENTS, CHROMIUM
from tests.e2e.web.frames import LATE_MS
from tests.e2e.web.museum import Museum
from tests.e2e.web.scrolling import scrolled

RESULTS = 2000
WIDTH, HEIGHT = 1280, 800


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.page_scroll", description=__doc__)
    parser.add_argument("service", help="address of a running service")
    parser.add_argument("--results", type=int, default=RESULTS, help=f"how many results, default {RESULTS}")
    parser.add_argument("--width", type=int, default=WIDTH, help=f"of the window in pixels, default {WIDTH}")
    parser.add_argument("--height", type=int, default=HEIGHT, help=f"of the window in pixels, default {HEIGHT}")
    options = parser.parse_args()
    with Museum().serving() as museum, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": options.width, "height": options.height})
        page.goto(options.service)
        picture = FilePayload(name="0.jpg", mimeType="image/jpeg", buffer=museum.pictures[0])
        chosen = page.locator(".drop input")
        frames = scrolled(browser, page, museum.address, options.results, lambda: chosen.set_input_files([picture]))
        browser.close()
    sys.stdout.write(frames.report())
    return int(max(frames.longest_frame, frames.longest_task) > LATE_MS)


if __name__ == "__main__":
    sys.exit(main())
