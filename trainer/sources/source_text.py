"""Texts and URLs of sources, as the content and the answers of a search can hold them."""

import html
import re
from urllib.parse import urljoin

from catalog.content.cell_text import foreign_scheme, is_image_url, tidy
from catalog.sources.records import SourceImage

MAX_TEXT_CHARACTERS = 500
MAX_IDENTIFIER_CHARACTERS = 1500
RELATIVE = ("/", "./", "../")
MARKUP = re.compile(r"<[^<>]{0,500}>")
SPACES = re.compile(r"[\s\x00-\x1f\x7f]+")


def plain(text: str | None) -> str | None:
    """Return a text without markup, on one line, shortened; None if nothing is left."""
    if text is None:
        return None
    # Markup is removed twice: some sources escape it.
    cleaned = MARKUP.sub(" ", html.unescape(MARKUP.sub(" ", text[: 4 * MAX_TEXT_CHARACTERS])))
    cleaned = SPACES.sub(" ", cleaned).encode("utf-8", "ignore").decode().strip()
    if len(cleaned) > MAX_TEXT_CHARACTERS:
        cleaned = f"{cleaned[: MAX_TEXT_CHARACTERS - 1]}…"
    return cleaned or None


def web_address(text: str | None, base: str | None = None) -> str | None:
    """Return a text that is an http(s) URL, without white space around it; None for any other.

    base: the address of the document that has it, to resolve texts that begin like a relative path.
    """
    if text is None:
        return None
    url = tidy(text)
    if base is not None and url.startswith(RELATIVE):
        try:
            url = urljoin(base, url)
        except ValueError:
            return None
    return url if is_image_url(url) and foreign_scheme(url) is None else None


def source_image(
    image_url: str | None,
    repo_url: str | None,
    *,
    label: str | None = None,
    attribution: str | None = None,
    rights: str | None = None,
) -> SourceImage | None:
    """Return an image of a record; None if its URL is not valid. A repository URL that is not valid is left out."""
    url = web_address(image_url)
    if url is None:
        return None
    return SourceImage(url, web_address(repo_url) or "", plain(label), plain(attribution), plain(rights))


def record_identifier(text: str) -> str:
    """Return the text by which a record is known. Very long ones are cut."""
    return SPACES.sub(" ", text).strip()[:MAX_IDENTIFIER_CHARACTERS]
