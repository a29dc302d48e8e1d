"""Where a harvest stands. It is stored with each page, so that a harvest continues after a kill."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from trainer.sources.oai.response import Page


@dataclass
class HarvestState:
    """Where a harvest stands.

    whole: it asks for everything. first_since, since: `from` of the first request, and of the present list; None: there
    is none. token: of the next page; None: the list begins. changed_since: `from` of the next harvest, by the clock of
    the repository. latest: the latest datestamp so far. in_order: records have come by datestamp so far. done: records
    so far; repeated ones count again. total: as the repository says. rejected: tokens that it rejected while no later
    record came. rejected_at: `latest` at the last rejection. resumed: a list was begun in the middle, since a token was
    rejected.
    """

    whole: bool
    first_since: str | None = None
    since: str | None = None
    token: str | None = None
    changed_since: str | None = None
    latest: str = ""
    in_order: bool = True
    done: int = 0
    deleted: int = 0
    total: int | None = None
    rejected: int = 0
    rejected_at: str = ""
    resumed: bool = False

    def checkpoint(self) -> dict[str, object]:
        """Return the state as JSON values."""
        return asdict(self)

    @classmethod
    def restored(cls, checkpoint: Mapping[str, object]) -> "HarvestState":
        """Return the state that was stored."""
        known = {field.name for field in fields(cls)}
        values: dict[str, object] = {name: value for name, value in checkpoint.items() if name in known}
        state = cls(whole=bool(values.pop("whole", True)))
        for name, value in values.items():
            setattr(state, name, value)
        return state

    def take(self, page: Page) -> None:
        """Count the records of a page."""
        if self.changed_since is None:
            self.changed_since = page.response_date
        for datestamp in page.datestamps:
            self.in_order &= bool(datestamp) and datestamp >= self.latest
            self.latest = max(self.latest, datestamp)
        self.done += len(page.records)
        self.deleted += sum(1 for record in page.records if record.deleted)
        if page.complete_size is not None and not self.resumed:
            self.total = page.complete_size
        self.token = page.token

    def begin_list_again(self) -> None:
        """Ask for the rest of the list without a token: for all records since the latest, if they come in that order.

        Otherwise the list starts over.
        """
        self.rejected = self.rejected + 1 if self.latest == self.rejected_at or not self.in_order else 1
        self.rejected_at = self.latest
        self.token = None
        self.resumed = True
        self.since = self.latest if self.in_order and self.latest else self.first_since

    def start_over(self) -> None:
        """Ask for everything again, because records were missing at the end."""
        self.token = None
        self.in_order, self.resumed = False, False
        self.since = self.first_since
