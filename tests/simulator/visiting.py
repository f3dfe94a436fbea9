"""A buyer without a browser: the PSP's page read and its form sent by plain HTTP."""

from __future__ import annotations

import http.client
import re
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

VISA, MASTERCARD, AMEX = "4242 4242 4242 4242", "5555 5555 5555 4444", "3782 822463 10005"
NO_MONEY, WITH_3DS = "4000 0000 0000 9995", "4000 0000 0000 3220"


@dataclass(frozen=True)
class Seen:
    """An answer, as a browser gets it: redirects are told and not followed."""

    status: int
    location: str | None
    html: str
    headers: dict[str, str]

    @property
    def form(self) -> str:
        found = re.search('name="form" value="([^"]+)"', self.html)
        assert found is not None, f"no form here: {self.html}"
        return found[1]


def look(url: str) -> Seen:
    return _exchange("GET", url, None)


def send_form(url: str, form: str, act: str, **fields: str) -> Seen:
    return _exchange("POST", url, urlencode({"form": form, "act": act, **fields}).encode())


def pay(url: str, number: str = VISA, form: str | None = None) -> Seen:
    """Fill in the card and send it; `form`: one that was opened before."""
    card = {"number": number, "expiry": "12 / 49", "cvc": "123", "name": "Ann Lee"}
    return send_form(url, form or look(url).form, "pay", **card)


def _exchange(method: str, url: str, body: bytes | None) -> Seen:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=10)) as connection:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, parts.path, body, headers)
        reply = connection.getresponse()
        told = {name.lower(): value for name, value in reply.getheaders()}
        return Seen(reply.status, told.get("location"), reply.read().decode(), told)
