"""What an upload is told about a CSV that was accepted: nothing is dropped or changed without saying so."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from catalog.content.cell_text import URL, character_name, excerpt
from gateway.content.header_row import names_entry_first

IMAGE_FILE = re.compile(r"\.(jpe?g|jp2|jpx|j2k|png|tiff?|gif|webp|bmp|heic|heif|avif)(?![a-z0-9])", re.IGNORECASE)
# The columns look swapped if at least this share of the second column, and at most that of the first, are images.
SECOND_SHARE, FIRST_SHARE = 0.8, 0.2
NAMED_CHARACTERS = 3


def looks_like_image(text: str) -> bool:
    """Return whether a text is an http(s) URL that names an image file."""
    return URL.fullmatch(text) is not None and IMAGE_FILE.search(text) is not None


@dataclass
class CsvWarnings:
    """The observations about one CSV."""

    header_line: int | None = None
    header: Sequence[str] = ()
    sampled: int = 0
    images_first: int = 0
    images_second: int = 0
    cleaned_rows: int = 0
    cleaned_line: int = 0
    removed: set[str] = field(default_factory=set)

    def took_header(self, line: int, columns: Sequence[str]) -> None:
        """Record which line was taken as the header row."""
        self.header_line, self.header = line, columns

    def cleaned(self, line: int, characters: set[str]) -> None:
        """Record that characters were removed from a row."""
        self.cleaned_line = self.cleaned_line or line
        self.cleaned_rows += 1
        self.removed |= characters

    def sample(self, rows: Sequence[Sequence[str]]) -> None:
        """Record what the first rows look like."""
        self.sampled = len(rows)
        self.images_first = sum(looks_like_image(row[0]) for row in rows)
        self.images_second = sum(looks_like_image(row[1]) for row in rows)

    def messages(self) -> list[str]:
        """Return a sentence or two about each observation."""
        found = []
        if self.header_line is not None:
            names = " and ".join(map(excerpt, self.header))
            found.append(f"Line {self.header_line} was taken as the header row, not as an image: {names}.")
        if self._looks_swapped():
            found.append(
                "The columns look swapped: the second one has the images. "
                "The first column must be the image URL, the second one the repository URL."
            )
        if self.cleaned_rows:
            rows = "1 row" if self.cleaned_rows == 1 else f"{self.cleaned_rows} rows"
            found.append(
                f"Invisible characters were removed from {rows}, first in line {self.cleaned_line}: {self._removed()}."
            )
        return found

    def _looks_swapped(self) -> bool:
        if not self.sampled:
            return False
        if self.images_first or self.images_second:
            first, second = self.images_first / self.sampled, self.images_second / self.sampled
            return first <= FIRST_SHARE and second >= SECOND_SHARE
        # The URLs do not tell. The header may.
        return bool(self.header) and names_entry_first(self.header)

    def _removed(self) -> str:
        names = [character_name(character) for character in sorted(self.removed)]
        more = len(names) - NAMED_CHARACTERS
        return ", ".join(names[:NAMED_CHARACTERS]) + (f" and {more} more" if more > 0 else "")
