"""`python -m operations.stack.healthcheck HOME|URL` → exit code 0 while the process is ready: for a container's HEALTHCHECK.

With the standard library alone, as it is started every few seconds. HOME is the process's TALLY_HOME, where it reports.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from operations.http_client import http_request

TIMEOUT_S = 3.0
REPORT_S_MAX = 15.0  # a process writes its report twice a second, unless it hangs


class NotReady(Exception):
    """The process is not ready; the message is the reason."""


def page_of(home: Path, now: float) -> str:
    """The `/readyz` of the process that reported last. Errors: NotReady."""
    reports = sorted((home / "run").glob("*.json"), key=lambda file: file.stat().st_mtime)
    if not reports:
        raise NotReady("no process has reported yet")
    age_s = now - reports[-1].stat().st_mtime
    if age_s > REPORT_S_MAX:
        raise NotReady(f"the last report is {age_s:.0f} s old")
    said = json.loads(reports[-1].read_text())
    host = f"[{said['metrics_host']}]" if ":" in said["metrics_host"] else said["metrics_host"]
    return f"http://{host}:{said['metrics_port']}/readyz"


def main(place: str) -> int:
    """→ 0 if ready, else 1 with the reason on one line."""
    try:
        url = place if place.startswith("http://") else page_of(Path(place), time.time())
        answer = http_request("GET", url, timeout_s=TIMEOUT_S)
        if answer.status == 200:
            return 0
        print(answer.body[:2000].decode(errors="replace"))
    except (OSError, ValueError, KeyError, NotReady) as error:
        print(error)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
