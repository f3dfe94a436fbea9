"""Executions against wallet and ledger on a real database: what waits, what is missing, what differs, and what costs no row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations

import pytest

from consumers.ledger import templates
from producers import recon_replies, recon_reports
from schemas.breaks import BreakOpened, BreakResolved
from schemas.events import AnyEvent, PaymentCaptured, WalletCredited
from schemas.journals import JournalPosted
from schemas.money import Money
from tests.captures import capture
from tests.reconciling import Room, call_id
from tests.store.hearing import NOW
from topics.runtime.shape.reading import read

LATER = timedelta(minutes=2)


def of_order(number: int) -> PaymentCaptured:
    return capture(f"order-{number}", call_id=call_id(number), seller_account=f"seller-{number}")


def credited(event: PaymentCaptured, net: Money | None = None) -> WalletCredited:
    nothing = Money(0, "EUR")
    return WalletCredited(
        payment_order_id=event.payment_order_id,
        checkout_id=event.checkout_id,
        movement_id="m",
        seller_account=event.seller_account,
        amount=net or event.net,
        available=nothing,
        pending=nothing,
        reserved=nothing,
        wallet_version=1,
    )


def posted(event: PaymentCaptured) -> JournalPosted:
    return JournalPosted(
        journal_id="j",
        template="captured",
        payment_order_id=event.payment_order_id,
        checkout_id=event.checkout_id,
        entries=templates.captured(event),
    )


def whole(number: int) -> list[AnyEvent]:
    event = of_order(number)
    return [event, credited(event), posted(event)]


def moves(room: Room) -> list[str]:
    return [row["link"] for row in room.rows("SELECT link FROM move_view ORDER BY link")]


def looks(room: Room, after: timedelta = timedelta(minutes=7)) -> None:
    """Time goes on, and what is due is judged."""
    room.after += after
    room.heard_all()
    room.settles(after=timedelta(minutes=1))


def inside(room: Room) -> list[tuple[str, str, str]]:
    """Open breaks: code, reason, seller."""
    rows = room.rows(
        "SELECT code, detail FROM break_view WHERE state = 'open' AND code IN"
        " ('LEDGER_MISSING', 'WALLET_MISSING', 'LEDGER_WALLET_DIFFER') ORDER BY code"
    )
    return [(row["code"], row["detail"]["reason"], *row["detail"]["sellers"]) for row in rows]


def test_a_batch_whose_triples_are_whole_costs_no_row(room: Room) -> None:
    room.hear(*[event for number in range(1, 51) for event in whole(number)])
    assert moves(room) == []
    looks(room)
    assert inside(room) == []


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_in_any_order_and_batch_by_batch_nothing_is_left(room: Room, order: Sequence[int]) -> None:
    triple = whole(1)
    room.hear_each([triple[place] for place in order])
    assert moves(room) == []
    assert len(room.rows("SELECT 1 AS x FROM move_heard_view")) == 2, "both rooms have spoken of it"
    looks(room)
    assert inside(room) == []


def test_a_missing_movement_is_said_with_its_record_and_closes_when_it_is_heard(room: Room) -> None:
    event = of_order(1)
    room.hear(event, posted(event))
    record_of, looks_of = room.ids[0], moves(room)
    assert looks_of == ["order-1|captured|"]
    looks(room)
    assert inside(room) == [], "the wallet has spoken of nothing younger: it stands still, and has missed nothing"
    room.hear(*whole(2))
    looks(room)
    assert inside(room) == [("WALLET_MISSING", "not_heard", "seller-1")]
    [opened] = room.all_said(BreakOpened)
    assert opened.record is not None
    assert (opened.record.event_id, opened.record.topic) == (record_of, "executions.v1")
    assert (opened.holds_payouts, opened.sellers, opened.amount) == (True, ("seller-1",), Money(1200, "EUR"))
    room.hear(credited(event))
    looks(room)
    assert inside(room) == []
    assert [(said.break_id, said.revision) for said in room.all_said(BreakResolved)] == [(opened.break_id, 2)]
    assert moves(room) == []


def test_a_missing_journal_is_one_break_however_often_it_is_looked_at(room: Room) -> None:
    event = of_order(1)
    room.hear(event, credited(event))
    room.hear(*whole(2))
    for _ in range(3):
        room.hear(*whole(3))
        looks(room)
    room.after += LATER
    room.hear(*whole(4))
    looks(room)
    looks(room)
    assert inside(room) == [("LEDGER_MISSING", "not_heard", "seller-1")]
    assert [said.revision for said in room.all_said(BreakOpened)] == [1]


def test_amounts_that_differ_go_to_a_person_and_name_the_seller(room: Room) -> None:
    event = of_order(1)
    room.hear(event, credited(event, Money(1100, "EUR")), posted(event))
    looks(room, after=timedelta(minutes=1))
    assert inside(room) == [("LEDGER_WALLET_DIFFER", "amounts", "seller-1")]
    [opened] = room.all_said(BreakOpened)
    assert (opened.break_class, opened.amount, opened.record) == ("B", Money(100, "EUR"), None)
    assert opened.holds_payouts


def test_an_effect_without_a_cause_goes_to_a_person_once_all_executions_are_heard(room: Room) -> None:
    room.hear(credited(of_order(1)))
    room.after += timedelta(minutes=20)
    room.settles(after=timedelta(minutes=1))
    assert inside(room) == [], "we may lag behind the executor"
    looks(room)
    assert inside(room) == [("LEDGER_WALLET_DIFFER", "no_cause", "seller-1")]
    room.hear(of_order(1), posted(of_order(1)))
    looks(room)
    assert inside(room) == []


def test_both_rooms_may_miss_one_event_and_each_break_closes_by_itself(room: Room) -> None:
    event = of_order(1)
    room.hear(event)
    room.after += LATER
    room.hear(*whole(2))
    looks(room)
    assert [code for code, *_ in inside(room)] == ["LEDGER_MISSING", "WALLET_MISSING"]
    room.hear(posted(event))
    looks(room)
    assert [code for code, *_ in inside(room)] == ["WALLET_MISSING"]
    room.hear(credited(event))
    looks(room)
    assert inside(room) == []
    assert moves(room) == []


def test_an_upgrade_in_the_middle_of_the_books_opens_nothing(room: Room) -> None:
    with room.store.transaction() as conn:
        conn.execute("INSERT INTO moves_since VALUES (true, %s)", [NOW + timedelta(minutes=10)])
    room.hear(*[posted(of_order(number)) for number in range(1, 40)])  # the topic from its beginning
    room.hear(of_order(40), said_at=NOW)
    assert moves(room) == []
    room.after += timedelta(minutes=11)
    room.hear(credited(of_order(41)))  # of an execution of just before
    room.hear(*whole(42))
    room.after += LATER
    room.hear(*whole(43))
    looks(room)
    assert inside(room) == []
    room.after += timedelta(days=2)
    room.hear(*whole(44))
    looks(room)
    assert (inside(room), moves(room)) == ([], [])


def test_held_sellers_are_listed_until_their_break_is_closed(room: Room) -> None:
    event = of_order(1)
    room.hear(event, posted(event))
    room.after += LATER
    room.hear(*whole(2))
    looks(room)
    report = recon_reports.held_sellers()
    asked = report.asks["held"]

    def listed() -> list[dict[str, object]]:
        rows = read(room.settings, asked.room, asked.statement, asked.values)
        return list(report.shape({"held": rows})["sellers"])

    [held] = listed()
    named = ("seller", "amount", "currency", "code", "about")
    assert [held[name] for name in named] == ["seller-1", "12.00", "EUR", "WALLET_MISSING", "order-1"]
    assert recon_replies.HeldSellers.model_validate({"sellers": [held]})
    room.hear(credited(event))
    looks(room)
    assert listed() == []
