"""Check what downloads of images need."""

import asyncio
import os
from collections.abc import Mapping

from yarl import URL

from servicekit.check.certificates import authorities
from servicekit.check.findings import Check, Finding, failed, ok
from servicekit.download.settings import DownloadSettings


def download_checks(settings: DownloadSettings) -> Mapping[str, Check]:
    """Return the checks by name: of the authorities and of the proxy, where there are any."""
    found: dict[str, Check] = {}
    if settings.download_ca_file is not None:
        found["download authorities"] = authorities(settings.download_ca_file, "SIMILIS_DOWNLOAD_CA_FILE")
    if settings.download_proxy is not None:
        found["download proxy"] = _proxy(URL(settings.download_proxy.get_secret_value()))
    return found


def _proxy(url: URL) -> Check:
    """Return a check that something listens there. What it lets through is not tried: that would need a host."""
    address = f"{url.host}:{url.port}"

    async def check() -> Finding:
        try:
            _, writer = await asyncio.open_connection(url.host, url.port)
        except OSError as error:
            # The resolver's errors have negative numbers.
            number = error.errno or 0
            reason = os.strerror(number) if number > 0 else error.strerror
            return failed(f"{address} cannot be reached: {reason}. Correct SIMILIS_DOWNLOAD_PROXY.")
        writer.close()
        return ok(address)

    return check
