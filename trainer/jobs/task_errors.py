"""What a group of tasks failed from."""

from catalog.jobs import LeaseLost
from servicekit.errors import ServiceError


def first_error(group: ExceptionGroup[Exception]) -> Exception:
    """The error that tells most: a lost lease, then one that nobody raised on purpose, then any other."""
    leaves = _leaves(group)
    for leaf in leaves:
        if isinstance(leaf, LeaseLost):
            return leaf
    for leaf in leaves:
        if not isinstance(leaf, ServiceError):
            return leaf
    return leaves[0]


def _leaves(group: ExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, ExceptionGroup) else [error])
    return found
