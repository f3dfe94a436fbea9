"""Captures, voids, expiry, refunds, reversals and disputes on the real stack, two processes for each room.

EUR goes to northpay, which takes many captures; USD to southpay, which takes one. Each journey ends with the PSPs' own
books, ours and the auditor agreeing to the cent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from consumers.executor.settings import RoutingRule
from operations.cli.timeline import timeline
from tests.journey.desk import Desk
from tests.journey.whole import running, settings_for
from topics.settings import Settings

BY_CURRENCY = (
    RoutingRule(psp="northpay", currencies=frozenset({"EUR"})),
    RoutingRule(psp="southpay", currencies=frozenset({"USD"})),
)


@pytest.fixture
def desk(make_stack: Callable[..., Settings]) -> Iterator[Desk]:
    with running(settings_for(make_stack, BY_CURRENCY, webhooks=True)) as whole:
        yield Desk(whole)


def test_money_goes_back_in_every_way_and_all_books_agree(desk: Desk) -> None:
    captured_in_thirds(desk)
    voided(desk)
    one_capture_only(desk)
    refunded(desk)
    refunds_race(desk)
    refunded_while_unknown(desk)
    taken_back_and_done_again(desk)
    disputed(desk)
    desk.agree()
    expired(desk)
    desk.agree()


def captured_in_thirds(desk: Desk) -> None:
    order = authorised(desk, "100.00", fee="10.00")
    for part, so_far in (("33.33", "33.33"), ("33.33", "66.66"), ("33.34", "100.00")):
        status, answer = desk.capture(order, part)
        assert status == 202, answer
        desk.shows(order, payment_order_status="SUCCESS", amount_captured=so_far)
    desk.shows(order, detail="", amount_capturable="0.00", wallet_updated=True, ledger_updated=True)
    assert desk.capture(order, "0.01")[0] in (202, 422)
    desk.shows(order, amount_captured="100.00")


def voided(desk: Desk) -> None:
    whole = authorised(desk, "20.00")
    assert desk.void(whole)[0] == 202
    desk.shows(whole, payment_order_status="FAILED", detail="voided", amount_capturable="0.00")
    part = authorised(desk, "20.00")
    desk.capture(part, "5.00")
    desk.shows(part, amount_captured="5.00", amount_capturable="15.00", detail="partly_captured")
    desk.void(part)
    desk.shows(part, payment_order_status="SUCCESS", amount_captured="5.00", amount_capturable="0.00")


def one_capture_only(desk: Desk) -> None:
    """southpay: the first capture closes the order, whatever is left."""
    order = authorised(desk, "30.00", currency="USD")
    desk.capture(order, "10.00", currency="USD")
    desk.shows(order, payment_order_status="SUCCESS", amount_captured="10.00", amount_capturable="0.00")


def refunded(desk: Desk) -> None:
    order = captured(desk, "60.00", fee="6.00")
    first = desk.refund(order, "20.00")
    desk.refund_ends(first, "succeeded")
    desk.shows(order, amount_refunded="20.00", detail="partly_refunded")
    desk.refund(order, "20.00", refund_id=first)  # the same again
    too_much = {"refund_id": desk.new("refund"), "payment_order_id": order, "amount": "40.01", "currency": "EUR"}
    status, answer = desk.ask("POST", "/v1/refunds", too_much)
    if status == 202:
        desk.refund_ends(str(too_much["refund_id"]), "failed", "exceeds_refundable")
    else:
        assert (status, answer["code"]) == (422, "exceeds_refundable")
    last = desk.refund(order, "40.00")
    desk.refund_ends(last, "succeeded")
    desk.shows(order, amount_refunded="60.00", detail="refunded")
    at_psp = [moment for moment in timeline(desk.whole.settings, last).moments if moment.where == "PSP"]
    assert Counter(moment.what for moment in at_psp) == {"succeeded": 1, "refund succeeded": 2}
    assert any(moment.detail.startswith("northpay says 40.00 EUR") for moment in at_psp)


def refunds_race(desk: Desk) -> None:
    """Ten at once for 30.00 of 100.00: three are done."""
    order = captured(desk, "100.00", fee="1.00")
    bodies = [
        {"refund_id": desk.new("refund"), "payment_order_id": order, "amount": "30.00", "currency": "EUR"}
        for _ in range(10)
    ]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda body: desk.ask("POST", "/v1/refunds", body), bodies))
    taken = [str(body["refund_id"]) for body, answer in zip(bodies, answers, strict=True) if answer[0] == 202]

    def undecided() -> list[str]:
        return [id_ for id_ in taken if status_of(desk, id_) not in ("succeeded", "failed", "refused")]

    desk.until(undecided)
    assert Counter(status_of(desk, id_) for id_ in taken)["succeeded"] == 3
    desk.shows(order, amount_refunded="90.00", detail="partly_refunded")


def status_of(desk: Desk, refund_id: str) -> str:
    return str(desk.whole.till.get(f"/v1/refunds/{refund_id}")["status"])


def refunded_while_unknown(desk: Desk) -> None:
    """The charge was made and never answered: the refund waits until the PSP was asked, or tells."""
    order = desk.pay("40.00", token="tok_timeout_charged")
    desk.until(lambda: [] if desk.order(order)["payment_order_status"] != "NOT_STARTED" else ["not placed yet"])
    refund = desk.refund(order, "40.00")
    desk.hurry_until(lambda: [] if status_of(desk, refund) == "succeeded" else [refund])
    desk.shows(order, amount_refunded="40.00", detail="refunded")


def taken_back_and_done_again(desk: Desk) -> None:
    """A refund and a capture that the PSP takes back after its yes, and does again."""
    order = captured(desk, "50.00", fee="5.00")
    refund = desk.refund(order, "10.00")
    desk.refund_ends(refund, "succeeded")
    desk.simulate("reverse", {"subject": order, "op": "refund"})
    desk.refund_ends(refund, "reversed")
    desk.shows(order, amount_refunded="0.00")
    desk.simulate("reverse", {"subject": order, "op": "refund", "again": True})
    desk.refund_ends(refund, "succeeded")
    desk.shows(order, amount_refunded="10.00")

    lost = captured(desk, "25.00", fee="2.50")
    desk.simulate("reverse", {"subject": lost, "op": "capture"})
    desk.shows(lost, detail="capture_reversed", amount_captured="0.00")
    desk.simulate("reverse", {"subject": lost, "op": "capture", "again": True})
    desk.shows(lost, detail="", amount_captured="25.00")


def disputed(desk: Desk) -> None:
    """Won; then a second stage, lost. While one is open nothing more goes back than is left."""
    order = captured(desk, "80.00", fee="8.00")
    desk.simulate("disputes", {"subject": order, "status": "opened", "amount": 8000})
    desk.shows(order, amount_disputed="80.00")
    body = {"refund_id": desk.new("refund"), "payment_order_id": order, "amount": "1.00", "currency": "EUR"}
    status, answer = desk.ask("POST", "/v1/refunds", body)
    assert (status, answer["code"]) == (422, "order_disputed")
    desk.simulate("disputes", {"subject": order, "status": "won"})
    desk.shows(order, amount_disputed="0.00", detail="")
    desk.simulate("disputes", {"subject": order, "status": "opened", "stage": 2, "amount": 8000})
    desk.shows(order, amount_disputed="80.00")
    desk.simulate("disputes", {"subject": order, "status": "lost", "stage": 2})
    desk.until(lambda: [] if standing(desk, order) == [(2, "lost")] else [str(standing(desk, order))])
    desk.shows(order, detail="charged_back", amount_disputed="80.00")
    at_psp = [moment.what for moment in timeline(desk.whole.settings, order).moments if moment.where == "PSP"]
    assert Counter(at_psp) == {"succeeded": 1, "dispute won": 1, "dispute lost": 1}


def standing(desk: Desk, order: str) -> list[tuple[int, str]]:
    """The order's disputes, each with its last stage."""
    told = desk.ask("GET", f"/v1/disputes?payment_order_id={order}")[1]["disputes"]
    return [(each["stage"], each["status"]) for each in told]


def expired(desk: Desk) -> None:
    """Nobody captures: the authorisation ends by itself. Last, since a week passes."""
    order = authorised(desk, "15.00")
    desk.hurry_until(
        lambda: [] if desk.order(order)["payment_order_status"] == "FAILED" else ["authorised"], by_s=86_400.0
    )
    desk.shows(order, detail="expired", amount_capturable="0.00")


def authorised(desk: Desk, amount: str, fee: str = "0.00", currency: str = "EUR") -> str:
    order = desk.pay(amount, fee, manual=True, currency=currency)
    desk.shows(order, payment_order_status="EXECUTING", detail="authorised", amount_capturable=amount)
    return order


def captured(desk: Desk, amount: str, fee: str = "0.00") -> str:
    order = desk.pay(amount, fee)
    desk.shows(order, payment_order_status="SUCCESS", wallet_updated=True, ledger_updated=True)
    return order
