"""Run by `helm test`: check that the gateway and its upstreams are ready, and that the release's API key is valid.

Right after an installation some parts are still starting, so a failed check is repeated until shortly before the
deadline of the pod.
"""

import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

URL = os.environ["GATEWAY_URL"]
GIVE_UP_AT = time.monotonic() + float(os.environ["TEST_SECONDS"])
PAUSE_SECONDS = 2.0
REQUEST_SECONDS = 20.0


def failure(method: str, path: str, headers: dict[str, str]) -> str | None:
    """Send one request. Return the reason if it should be repeated, or None if it succeeded."""
    request = urllib.request.Request(f"{URL}{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
            print(method, path, response.status, flush=True)
    except urllib.error.HTTPError as error:
        reason = f"{method} {path} returned {error.code}: {error.read(2000).decode('utf-8', 'replace')}"
        if error.code < 500 and error.code != 429:
            sys.exit(reason)
        return reason
    except OSError as error:
        return f"{method} {path}: the gateway does not respond: {error}"
    return None


checks = [("GET", "/readyz")]
api_key = {}
if "API_KEY_FILE" in os.environ:
    api_key = {"API-Key": Path(os.environ["API_KEY_FILE"]).read_text(encoding="utf-8").strip()}
    checks += [("POST", "/api/verify"), ("GET", "/api/collection/list")]
for check in checks:
    while reason := failure(*check, api_key):
        if time.monotonic() + PAUSE_SECONDS > GIVE_UP_AT:
            sys.exit(reason)
        time.sleep(PAUSE_SECONDS)
