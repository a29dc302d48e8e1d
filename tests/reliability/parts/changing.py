"""A collection whose content changes, and what may be found in it: a whole index, the former one or the new one."""

import itertools
import time
from dataclasses import dataclass, field

from tests.reliability.parts.rest import Answer, Rest, Row, rows_found

# Too few to learn from, which would take a minute.
IMAGES = 9
FINETUNE_SECONDS = 600.0
# What a search may be told while a part is being restarted.
MAY_FAIL = (0, 503, 504)
PAUSE_SECONDS = 0.05


class WrongAnswer(AssertionError):
    """A search found what no index has."""


@dataclass
class ChangingCollection:
    """A collection of which each round replaces an image.

    host: where the images are. contents: all that it has had, sorted; position: the one that search found last.
    indexes: the rows of each index that was found, by its id. answered, refused: how many searches were.
    """

    rest: Rest
    host: str
    id: int
    rows: list[Row]
    contents: list[list[Row]] = field(default_factory=list)
    position: int = 0
    anchor: int = 0
    indexes: dict[int, list[Row]] = field(default_factory=dict)
    answered: int = 0
    refused: int = 0
    numbers: "itertools.count[int]" = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = itertools.count(len(self.rows))

    @classmethod
    def create(cls, rest: Rest, host: str, name: str, images: int = IMAGES) -> "ChangingCollection":
        """Create one with a first index."""
        made = cls.uploaded(rest, host, name, images)
        made.finetuned()
        return made

    @classmethod
    def uploaded(cls, rest: Rest, host: str, name: str, images: int = IMAGES) -> "ChangingCollection":
        """Create one that was never finetuned."""
        identifier = rest.create(name)
        made = cls(rest, host, identifier, [_row(host, identifier, number) for number in range(images)])
        assert made.upload().status == 200
        return made

    def upload(self) -> Answer:
        """Upload the rows as they are now. Returns what became of it."""
        self.contents.append(sorted(self.rows))
        return self.rest.upload(self.id, self.rows)

    def replace_one(self) -> Answer:
        """Replace the second row by a new one. The first stays: searches ask for images like it."""
        del self.rows[1]
        self.rows.append(_row(self.host, self.id, next(self.numbers)))
        return self.upload()

    def finetuned(self, query: str = "") -> None:
        """Finetune, and wait for the end."""
        self.rest.finetune(self.id, query)
        self.wait_until_done()

    def wait_until_done(self) -> None:
        """Wait until search serves the newest content. Searches meanwhile must find a whole index."""
        end = time.monotonic() + FINETUNE_SECONDS
        while not self._is_done():
            assert time.monotonic() < end, self.rest.info(self.id)
            if self.anchor:
                self.search()
            time.sleep(PAUSE_SECONDS)
        self.find_anchor()
        while self.search().status != 200:
            assert time.monotonic() < end
            time.sleep(PAUSE_SECONDS)
        assert self.contents[self.position] == sorted(self.rows)

    def find_anchor(self) -> None:
        """Find out which image searches ask for."""
        if not self.anchor:
            images = self.rest.insist("GET", f"/collection/{self.id}/images?limit=1").body["images"]
            self.anchor = int(images[0]["image_id"])

    def search(self) -> Answer:
        """Search, and check the answer: it has all rows of one index, which is not older than the one before."""
        answer = self.rest.all_found(self.id, self.anchor)
        if answer.status != 200:
            if answer.status not in MAY_FAIL:
                raise WrongAnswer(answer)
            self.refused += 1
            return answer
        self.answered += 1
        found = rows_found(answer)
        expected = self.indexes.setdefault(answer.body["index_id"], found)
        if found != expected or found not in self.contents[self.position :]:
            raise WrongAnswer(f"{len(found)} rows of index {answer.body['index_id']}")
        self.position = self.contents.index(found, self.position)
        return answer

    def _is_done(self) -> bool:
        info = self.rest.info(self.id)
        assert info["finetuning_state"] != "failed", info
        return info["finetuning_state"] not in ("queued", "running") and not info["requires_finetuning"]


def _row(host: str, collection: int, number: int) -> Row:
    # Each collection has its own images, and each round adds one.
    name = collection * 1000 + number
    return f"{host}{name}.jpg", f"https://repo.example.org/{name}"
