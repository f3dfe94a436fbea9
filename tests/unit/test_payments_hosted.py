"""A payment on a PSP's page: asked for, placed, told with where the page is, ended by what the executor says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from consumers.payments.decide import decide
from consumers.payments.payment import Payments, Redirect
from schemas.events import NextAction, PaymentPending, PaymentRefused, PaymentStatusChanged
from tests.unit.payment_cases import NOW, POLICY, captured, cleared, declined, requested, unresolved
from topics.runtime.shape.consumer import Cause, Decision

BACK = "https://shop.example/thanks"
URL = "https://psp.example/pay/1"
END = NOW + timedelta(minutes=30)


class Room:
    """payments' decider and its state."""

    def __init__(self, **policy: Any) -> None:
        self.policy = replace(POLICY, **policy)
        self.state = Payments()
        self.decided = 0

    def hear(self, event: Any) -> Decision:
        self.decided += 1
        cause = Cause(f"00000000-0000-7000-8000-{self.decided:012d}", "t", None, NOW, 0)  # type: ignore[arg-type]
        decision = decide(self.state, event, cause, self.policy)
        for change in decision.changes:
            self.state.fold(change)  # type: ignore[arg-type]
        return decision


def on_a_page(return_url: str = BACK) -> Any:
    return requested(orders=1, payment_method={"type": "hosted", "return_url": return_url})


def placed(room: Room) -> Any:
    room.hear(on_a_page())
    return room.hear(cleared()).events[0]


def page(order: Any, url: str | None = URL, reason: str = "buyer") -> PaymentPending:
    facts = {"psp": "northpay", "call_id": "0" * 32, "psp_reference": "ch_1", "reason": reason}
    return PaymentPending(**order.terms(), **facts, redirect_url=url, expires_at=END if url else None)


def test_the_order_is_placed_with_the_return_url_and_no_token() -> None:
    order = placed(Room())
    assert (order.token, order.return_url) == (None, BACK)


def test_where_the_page_is_is_stored_and_told_once() -> None:
    room = Room()
    order = placed(room)
    decision = room.hear(page(order))
    [said] = decision.events
    assert isinstance(said, PaymentStatusChanged)
    [state] = said.payment_orders
    assert (state.payment_order_status, state.detail) == ("EXECUTING", "action_required")
    assert state.next_action == NextAction(URL, END)
    assert Redirect("o1", URL, END) in decision.changes
    assert room.hear(page(order)).events == ()


@pytest.mark.parametrize(("ends", "detail"), [(captured, ""), (declined, "declined"), (unresolved, "unresolved")])
def test_what_ends_it_tells_of_no_page(ends: Any, detail: str) -> None:
    room = Room()
    order = placed(room)
    room.hear(page(order))
    decision = room.hear(ends(order))
    assert room.state.orders["o1"].detail == detail
    told = [said for said in decision.events if isinstance(said, PaymentStatusChanged)]
    assert all(state.next_action is None for said in told for state in said.payment_orders)


def test_a_page_that_comes_after_the_payment_changes_nothing() -> None:
    room = Room()
    order = placed(room)
    room.hear(captured(order))
    assert room.hear(page(order)) == Decision()


def test_a_page_that_is_there_only_later_is_told_then() -> None:
    room = Room()
    order = placed(room)
    room.hear(page(order, url=None, reason="processing"))
    assert room.state.orders["o1"].detail == "pending"
    room.hear(page(order))
    assert room.state.orders["o1"].detail == "action_required"


def test_of_several_orders_the_one_that_waits_has_the_page() -> None:
    """A PSP may send the buyer of a token's charge to 3-D Secure."""
    room = Room()
    room.hear(requested(orders=2))
    _, second, *_ = room.hear(cleared()).events
    [said] = room.hear(page(second)).events
    assert [state.next_action for state in said.payment_orders] == [None, NextAction(URL, END)]


def test_the_same_session_again_is_the_same_and_another_return_url_is_not() -> None:
    room = Room()
    room.hear(on_a_page())
    assert room.hear(on_a_page()) == Decision()
    [refused] = room.hear(on_a_page("https://shop.example/other")).events
    assert isinstance(refused, PaymentRefused)
    assert refused.code == "checkout_conflict"


@pytest.mark.parametrize(("allowed", "code"), [(False, "invalid_url"), (True, None)])
def test_plain_http_goes_to_loopback_where_the_installation_allows_it(allowed: bool, code: str | None) -> None:
    said = Room(http_return_urls=allowed).hear(on_a_page("http://127.0.0.1:3000/thanks")).events
    assert next((event.code for event in said if isinstance(event, PaymentRefused)), None) == code
