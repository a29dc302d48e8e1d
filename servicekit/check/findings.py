"""What a check finds, and how it is shown."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from servicekit.errors import ServiceError

Check = Callable[[], Awaitable["Finding"]]


class Level(Enum):
    """How much a finding matters. Only failures change the exit status."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Finding:
    """The state of one part. text: what was found, and what to change if something is wrong."""

    level: Level
    text: str


def ok(text: str) -> Finding:
    """Return a finding that needs nobody's attention."""
    return Finding(Level.OK, text)


def warning(text: str) -> Finding:
    """Return a finding about something that works, but not for long or not well."""
    return Finding(Level.WARNING, text)


def failed(text: str) -> Finding:
    """Return a finding about something without which the service cannot work."""
    return Finding(Level.FAILED, text)


def service_failure(error: ServiceError, address: str) -> Finding:
    """Return the failure of a part that cannot be used. address: where it was looked for."""
    reason = _reason(error.__cause__)
    return failed(error.message if reason is None else f"{error.message} {address}: {reason}")


def lines(findings: Mapping[str, Finding]) -> Iterable[str]:
    """Return a line for each part."""
    width = max(map(len, findings), default=0)
    for part, finding in findings.items():
        yield f"{finding.level.value:<8} {part:<{width}}  {finding.text}"


# Words of gRPC, of the resolver and of the operating system, and what they mean.
_REASONS = (
    (("Domain name not found", "errors resolving", "Name or service not known"), "the name does not resolve."),
    (("No address associated", "Temporary failure in name resolution"), "the name does not resolve."),
    (("Connection refused", "Connect call failed"), "nothing listens there."),
    (("No such file or directory",), "the socket does not exist."),
    (("imeout", "imed out", "DEADLINE_EXCEEDED"), "no response. A firewall or network policy may be in the way."),
    (("Socket closed", "reset by peer"), "it ends the connection at once."),
)


def _reason(cause: BaseException | None) -> str | None:
    text = repr(cause)
    return next((reason for words, reason in _REASONS if any(word in text for word in words)), None)
