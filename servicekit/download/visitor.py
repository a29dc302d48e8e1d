"""What one download carries from request to request: credentials for the origin that they belong to, and cookies."""

from base64 import b64encode
from urllib.parse import unquote_to_bytes

import aiohttp
from yarl import URL


class Visitor:
    """The client that a host sees during one download, with its redirects and retries."""

    def __init__(self) -> None:
        self._authorizations: dict[URL, str] = {}
        # Made when a cookie comes, which is rare.
        self._cookies: aiohttp.CookieJar | None = None
        self.has_new_cookies = False

    def address(self, url: URL) -> tuple[URL, dict[str, str]]:
        """Return the URL without its user info, and the headers for it.

        The user info of a URL is used for all URLs of its origin, so that a redirect within the origin keeps it.
        """
        origin = url.origin()
        if url.raw_user is not None or url.raw_password is not None:
            user_info = b":".join(unquote_to_bytes(part or "") for part in (url.raw_user, url.raw_password))
            self._authorizations[origin] = f"Basic {b64encode(user_info).decode()}"
            url = url.with_user(None)
        self.has_new_cookies = False
        authorization = self._authorizations.get(origin)
        headers = {} if authorization is None else {"Authorization": authorization}
        return url, headers | self._cookie_header(url)

    def read(self, response: aiohttp.ClientResponse) -> None:
        """Keep the cookies of a response."""
        if not response.cookies:
            return
        if self._cookies is None:
            # Hosts may be addresses, and some cookies have characters that others would quote.
            self._cookies = aiohttp.CookieJar(unsafe=True, quote_cookie=False)
        before = self._cookie_header(response.url)
        self._cookies.update_cookies(response.cookies, response.url)
        self.has_new_cookies = self._cookie_header(response.url) != before

    def _cookie_header(self, url: URL) -> dict[str, str]:
        if self._cookies is None:
            return {}
        cookies = self._cookies.filter_cookies(url).values()
        return {"Cookie": "; ".join(f"{cookie.key}={cookie.coded_value}" for cookie in cookies)} if cookies else {}
