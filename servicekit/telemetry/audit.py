"""The audit log: one event for each change that a person or a program asked for."""

from typing import Literal

from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# done: the change was made. unchanged: there was nothing to change. refused: a wrong key or request. failed: an error
# of ours. unknown: the request ended too early to tell.
Outcome = Literal["done", "unchanged", "refused", "failed", "unknown"]


def audit(action: str, outcome: Outcome, **fields: object) -> None:
    """Log one change. action: a verb and a noun, such as "delete_collection". Fields that are None are left out."""
    log.info(
        "audit", action=action, outcome=outcome, **{name: value for name, value in fields.items() if value is not None}
    )
