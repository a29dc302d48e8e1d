"""Settings of every service that downloads images."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat, SecretStr, field_validator
from yarl import URL

from servicekit.download.limits import DownloadRoute, trusted_authorities, user_agent
from servicekit.settings import ServiceSettings


class DownloadSettings(ServiceSettings):
    """How image hosts are reached, and what a single download may take."""

    allow_private_addresses: bool = False
    """Download images from private addresses too. Metadata services of clouds stay blocked. Clients whose searches name
    an image by URL can then find out which private addresses answer; `SIMILIS_FETCH_IMAGE_URLS=false` prevents that."""
    download_connect_seconds: PositiveFloat = 10.0
    """How long connecting to a host may take."""
    download_first_byte_seconds: PositiveFloat = 60.0
    """How long a host may take to begin its answer."""
    download_read_seconds: PositiveFloat = 20.0
    """How long a host may send nothing in the middle of an answer."""
    download_contact: Annotated[str, Field(pattern=r"^[!-'*-:<-~ ]{1,200}$")] | None = None
    """Your e-mail address or web page, which image hosts see in the `User-Agent`. Some refuse clients without one."""
    download_ca_file: Path | None = None
    """PEM file with authorities of image hosts' certificates that are trusted besides the public ones."""
    download_proxy: SecretStr | None = None
    """URL of an HTTP proxy for all downloads: `http://user:password@proxy.example.org:3128`. Names of hosts are still
    checked, but the proxy resolves them itself and must refuse private addresses, too."""
    max_redirects: Annotated[int, Field(ge=0)] = 5
    """How many redirects a download follows."""

    @field_validator("download_proxy")
    @classmethod
    def _is_http_proxy(cls, proxy: SecretStr | None) -> SecretStr | None:
        if proxy is None:
            return None
        try:
            url = URL(proxy.get_secret_value())
            valid = url.scheme in ("http", "https") and bool(url.host) and url.port is not None
        except ValueError:
            valid = False
        if not valid:
            raise ValueError("must be the URL of an HTTP proxy, such as http://proxy.example.org:3128")
        return proxy

    def download_route(self) -> DownloadRoute:
        """Return how image hosts are reached. Raises StartupError if the file of authorities cannot be used."""
        return DownloadRoute(
            allow_private_addresses=self.allow_private_addresses,
            user_agent=user_agent(self.download_contact),
            tls=trusted_authorities(self.download_ca_file),
            proxy=None if self.download_proxy is None else self.download_proxy.get_secret_value(),
        )
