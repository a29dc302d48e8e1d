"""The rows that a client adds as JSON: check them as the rows of an uploaded CSV, and name the one that is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from catalog.content.cell_text import (
    MAX_FIELD_CHARACTERS,
    character_name,
    excerpt,
    foreign_scheme,
    is_image_url,
    removed_characters,
    tidy,
)
from gateway.content.csv_warnings import NAMED_CHARACTERS, looks_like_image
from gateway.http.json_object import JsonObject, kind_of
from servicekit.errors import InvalidRequest

FIELD = "images"
MAX_ROWS = 10_000
COLUMNS = ("image_url", "repo_url")


@dataclass
class CheckedRows:
    """Rows that can be added: image_url and repo_url of each."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    # The fields that have no meaning, in the order in which they were found.
    unknown: dict[str, None] = field(default_factory=dict)
    # The positions of the rows from which invisible characters were removed, and these characters.
    cleaned: list[int] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)

    def warnings(self) -> list[str]:
        """Return a sentence about each kind of observation."""
        found = []
        if self.unknown:
            names = ", ".join(list(self.unknown)[:10])
            found.append(f"Fields of images that are unknown and ignored: {names}. Known: {', '.join(COLUMNS)}.")
        if self.cleaned:
            names = ", ".join(character_name(character) for character in sorted(self.removed)[:NAMED_CHARACTERS])
            count = "1 image" if len(self.cleaned) == 1 else f"{len(self.cleaned)} images"
            at = _at(self.cleaned[0])
            found.append(f"Invisible characters were removed from {count}, first from {at}, among them: {names}.")
        return found


def check_rows(body: JsonObject) -> CheckedRows:
    """Return the rows under `images`. Raises InvalidRequest (invalid_images), naming the position of a wrong row."""
    images = body.get(FIELD)
    if images is None:
        raise _invalid(FIELD, 'is missing. Send a list of {"image_url": …, "repo_url": …}')
    if not isinstance(images, list):
        raise _invalid(FIELD, f"must be a list, not {kind_of(images)}")
    if not 1 <= len(images) <= MAX_ROWS:
        raise _invalid(FIELD, f"must have between 1 and {MAX_ROWS} images, not {len(images)}")
    checked = CheckedRows()
    for position, image in enumerate(images):
        if not isinstance(image, dict):
            raise _invalid(_at(position), f"must be an object, not {kind_of(image)}")
        checked.unknown |= dict.fromkeys(str(name)[:40] for name in image if name not in COLUMNS)
        cells = [_cell(image.get(name), f"{_at(position)}.{name}") for name in COLUMNS]
        columns = [_tidied(cell) for cell in cells]
        _check_urls(position, columns)
        if removed := set().union(*map(removed_characters, cells, columns)):
            checked.cleaned.append(position)
            checked.removed |= removed
        checked.rows.append((columns[0], columns[1]))
    return checked


def _cell(value: object, name: str) -> str:
    if value is None:
        raise _invalid(name, "is missing")
    if not isinstance(value, str):
        raise _invalid(name, f"must be a string, not {kind_of(value)}")
    if len(value) > MAX_FIELD_CHARACTERS:
        raise _invalid(name, f"must have at most {MAX_FIELD_CHARACTERS} characters, not {len(value)}")
    if "\0" in value or not _is_unicode(value):
        raise _invalid(name, "must be text that UTF-8 can write, without NUL characters and lone surrogates")
    return value


def _tidied(cell: str) -> str:
    # One character that is removed may have kept another from being removed.
    while (text := tidy(cell)) != cell:
        cell = text
    return cell


def _check_urls(position: int, columns: Sequence[str]) -> None:
    image_url, repo_url = columns
    if not is_image_url(image_url):
        problem = f"must be an http(s) URL, not {excerpt(image_url)}"
        if looks_like_image(repo_url):
            problem += ". repo_url looks like the image URL: swap the fields"
        raise _invalid(f"{_at(position)}.image_url", problem)
    if scheme := foreign_scheme(repo_url):
        allowed = "must be an http(s) URL, or text without another scheme"
        raise _invalid(f"{_at(position)}.repo_url", f"{allowed}, not “{scheme}:” in {excerpt(repo_url)}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _at(position: int) -> str:
    return f"{FIELD}[{position}]"


def _invalid(name: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{name} {problem}.", code="invalid_images")
