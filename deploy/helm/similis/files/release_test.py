"""What `helm test` runs: the gateway is ready with all that it needs, and the release's API key is valid."""

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

url = os.environ["GATEWAY_URL"]
asked = [urllib.request.Request(f"{url}/readyz"), urllib.request.Request(f"{url}/api/collection/list")]
if "API_KEY_FILE" in os.environ:
    key = Path(os.environ["API_KEY_FILE"]).read_text(encoding="utf-8").strip()
    asked.append(urllib.request.Request(f"{url}/api/verify", method="POST", headers={"API-Key": key}))
for request in asked:
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            print(request.selector, response.status)
    except urllib.error.HTTPError as error:
        sys.exit(f"{request.selector} answered {error.code}: {error.read(2000).decode('utf-8', 'replace')}")
    except OSError as error:
        sys.exit(f"{request.selector} cannot be reached: {error}")
