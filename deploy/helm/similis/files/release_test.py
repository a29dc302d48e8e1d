"""What `helm test` runs: the gateway is ready with all that it needs, and the release's API key is valid."""

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

url = os.environ["GATEWAY_URL"]
asked = [("GET", "/readyz")]
headers = {}
if "API_KEY_FILE" in os.environ:
    headers = {"API-Key": Path(os.environ["API_KEY_FILE"]).read_text(encoding="utf-8").strip()}
    asked += [("POST", "/api/verify"), ("GET", "/api/collection/list")]
for method, path in asked:
    request = urllib.request.Request(f"{url}{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            print(method, path, response.status)
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {path} answered {error.code}: {error.read(2000).decode('utf-8', 'replace')}")
    except OSError as error:
        sys.exit(f"{method} {path} cannot be reached: {error}")
