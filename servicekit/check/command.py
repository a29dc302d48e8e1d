"""`python -m SERVICE check`, which `similis check SERVICE` runs: exit status 0 when the service can work, else 1."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from servicekit.check.findings import Check, Finding, Level, failed, lines
from servicekit.errors import ServiceError
from servicekit.process.service import EXIT_CONFIG, StartupError
from servicekit.settings import S, SettingsError, load_settings
from servicekit.telemetry.logs import configure_logging

CHECK_SECONDS = 15.0
PAUSE_SECONDS = 2.0


def run_check(name: str, kind: type[S], checks: Callable[[S], Mapping[str, Check]], arguments: Sequence[str]) -> int:
    """Check what a service needs, with the settings in this process's environment, and print what was found.

    checks: returns the checks by name of the part. Returns the exit status: 0, 1 when something failed, 78 when a
    setting is wrong.
    """
    options = _parser(name).parse_args(arguments)
    # Only what is found is shown.
    configure_logging(name, level="critical")
    try:
        found = asyncio.run(_checked(checks(load_settings(kind)), options.wait))
    except SettingsError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return EXIT_CONFIG
    except KeyboardInterrupt:
        return 130
    sys.stdout.write("".join(f"{line}\n" for line in lines(found)))
    return 1 if _has_failed(found) else 0


async def _checked(checks: Mapping[str, Check], wait_seconds: float) -> dict[str, Finding]:
    """Run all checks at once, and again until none fails or the time is over."""
    give_up_at = time.monotonic() + wait_seconds
    while True:
        found = await asyncio.gather(*(_run(check) for check in checks.values()))
        named = dict(zip(checks, found, strict=True))
        if not _has_failed(named) or time.monotonic() + PAUSE_SECONDS > give_up_at:
            return named
        await asyncio.sleep(PAUSE_SECONDS)


async def _run(check: Check) -> Finding:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return failed("It does not respond. A firewall or network policy may be in the way.")
    except (ServiceError, StartupError, SettingsError) as error:
        return failed(str(error))
    except Exception as error:
        return failed(f"The check itself failed: {error!r}")


def _has_failed(found: Mapping[str, Finding]) -> bool:
    return any(finding.level is Level.FAILED for finding in found.values())


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"similis check {name}",
        description=f"Try everything that the {name} needs, with the settings in the environment.",
    )
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a check."""
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="repeat what fails for this long, for parts that are still starting (default: 0)",
    )
