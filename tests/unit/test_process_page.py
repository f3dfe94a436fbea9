"""A room process's page: its rooms' states, and why one does not run."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from topics.runtime.process.health import Health
from topics.runtime.process.page import serve_page


def ask(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def test_a_room_that_stopped_at_its_limit_says_why_until_it_goes_on() -> None:
    wallet, ledger = Health("wallet"), Health("ledger")
    port = serve_page("127.0.0.1", 0, [wallet, ledger])
    assert ask(port, "/readyz")[0] == 503
    wallet.running()
    ledger.stopped("too_many_faults", "21 of the last 400 messages failed by our own fault (limit 20)")
    status, body = ask(port, "/readyz")
    (reason,) = json.loads(body)["reasons"]
    assert (status, "ledger stopped: too_many_faults: 21 of" in reason) == (503, True)
    ledger.running()
    assert (ask(port, "/readyz")[0], b"# HELP" in ask(port, "/metrics")[1]) == (200, True)
