"""A pending charge with a page, in each PSP's words → a URL that a buyer's browser may be sent to, or nothing that we read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from psp.northpay import Northpay
from psp.port import Charge, Pending, Psp, Unknown
from psp.southpay import Southpay
from schemas.money import Money
from tests.northpay import charge as north_charge

ASKED = Charge("0f" * 16, "order-1", Money(1234, "EUR"), None, True, "https://shop.example/thanks")
END = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Words:
    psp: Psp

    def body(self, url: object, end: object = None) -> dict[str, Any]:
        if isinstance(self.psp, Northpay):
            until = int(END.timestamp()) if end is None else end
            pending = {"status": "pending", "pending_reason": "buyer", "network": None, "decline_code": None}
            action = {"next_action": {"redirect_to_url": {"url": url, "expires_at": until}}}
            return {**north_charge(ASKED.call_id), **pending, **action}
        return {
            "pspReference": "8AB1",
            "resultCode": "Pending",
            "pendingReasonCode": "buyer",
            "amount": {"value": 1234, "currency": "EUR"},
            "merchantReference": ASKED.call_id,
            "merchantOrderReference": "order-1",
            "paymentMethod": {"type": "scheme"},
            "creationDate": "2026-01-02T03:04:05.678Z",
            "action": {"type": "redirect", "url": url, "expiresAt": END.isoformat() if end is None else end},
        }

    def reply(self, url: object, end: object = None) -> object:
        return self.psp.read(ASKED, 200, {}, orjson.dumps(self.body(url, end)))


BOTH = pytest.mark.parametrize(
    "words",
    [
        Words(Northpay("northpay", "http://psp.test/northpay", "secret-key")),
        Words(Southpay("southpay", "http://psp.test/southpay", "secret-key")),
    ],
    ids=lambda words: words.psp.name,
)


@BOTH
def test_a_page_is_asked_for_with_a_return_url_in_place_of_a_token(words: Words) -> None:
    body = orjson.loads(words.psp.request(ASKED).body)
    assert "https://shop.example/thanks" in body.values()
    assert "token" not in str(body)
    assert "source" not in body


@BOTH
@pytest.mark.parametrize("url", ["https://psp.example/pay/1#a=b", "http://127.0.0.1:8100/pay/1", "http://localhost/1"])
def test_where_the_page_is_and_until_when(words: Words, url: str) -> None:
    reply = words.reply(url)
    assert isinstance(reply, Pending)
    assert (reply.reason, reply.redirect_url, reply.expires_at) == ("buyer", url, END)


@BOTH
@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "http://psp.example/pay/1",
        "https://ann:secret@psp.example/",
        "//psp.example/",
        "https://psp.example/\n",
        "https://psp.example/" + "a" * 2000,
        "",
        5,
    ],
)
def test_a_page_that_no_browser_may_be_sent_to_is_not_read(words: Words, url: object) -> None:
    """The charge is asked about again, as after any answer that cannot be read."""
    assert words.reply(url) == Unknown("unreadable")


@BOTH
@pytest.mark.parametrize("end", ["soon", 10**18, ""])
def test_an_end_that_is_no_time_is_not_read(words: Words, end: object) -> None:
    assert words.reply("https://psp.example/pay/1", end) == Unknown("unreadable")
