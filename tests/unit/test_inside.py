"""Executions, wallet and ledger compared: whatever comes first, and however often, the end is the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.ledger import templates
from reconciliation import inside
from reconciliation.breaking import Finding
from reconciliation.move import ROOMS, Heard, Move
from reconciliation.state import ALWAYS
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import AnyEvent, WalletCredited
from schemas.journals import JournalPosted, LedgerEntry
from schemas.money import Money
from schemas.payouts import PayoutPaid, PayoutSubmitted, ReservationSettled
from tests.captures import capture
from tests.payouts import paid, submitted
from topics.runtime.shape.consumer import Cause

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CAPTURED = capture()
CAPTURED_ID = derive_id("a charge", "executor", 0, 1_700_000_000_000)


def cause(event: AnyEvent, event_id: str = CAPTURED_ID, said_at: datetime = NOW, now: datetime = NOW) -> Cause:
    headers = tuple(record_headers(Envelope(event_id, "/test", event_type(type(event)), said_at)))  # type: ignore[arg-type]
    return Cause(event_id, "executions.v1", None, now, 0, None, headers, 3, 812)  # type: ignore[arg-type]


def of_wallet(net: int = 1200, seller: str = "seller-1") -> WalletCredited:
    nothing = Money(0, "EUR")
    return WalletCredited(
        payment_order_id="order-1",
        checkout_id="checkout-1",
        movement_id="m",
        seller_account=seller,
        amount=Money(net, "EUR"),
        available=nothing,
        pending=nothing,
        reserved=nothing,
        wallet_version=1,
    )


def of_ledger(entries: tuple[LedgerEntry, ...] | None = None) -> JournalPosted:
    return JournalPosted(
        journal_id="j",
        template="captured",
        payment_order_id="order-1",
        checkout_id="checkout-1",
        entries=entries or templates.captured(CAPTURED),
    )


def heard(*events: AnyEvent, now: datetime = NOW, said_at: datetime = NOW, since: datetime = ALWAYS) -> list[Move]:
    found: list[Move] = []
    for event in events:
        if isinstance(event, WalletCredited | JournalPosted | ReservationSettled):
            move = inside.effect(event, cause(event, said_at=said_at, now=now), since)
            found += [] if move is None else [move]
        else:
            found += inside.wanted(event, cause(event, said_at=said_at, now=now), since)  # type: ignore[arg-type]
    return found


def joined(moves: Sequence[Move]) -> Move:
    return reduce(Move.joined, moves)


def faults(move: Move, past: bool = True, now: datetime = NOW + timedelta(hours=1)) -> list[Finding]:
    until = now if past else None
    seen = Heard(move, until, until, until)
    return [found for room in ROOMS if (found := inside.fault(seen, room, False, now)) is not None]


def codes(move: Move, **rest: bool) -> list[tuple[str, object]]:
    return [(found.code, found.detail["reason"]) for found in faults(move, **rest)]  # type: ignore[arg-type]


TRIPLE = (CAPTURED, of_wallet(), of_ledger())


@given(st.lists(st.sampled_from(range(3)), max_size=4), st.sampled_from(list(permutations(range(3)))))
def test_any_order_and_any_repeats_of_the_three_end_whole(repeats: list[int], order: tuple[int, ...]) -> None:
    moves = heard(*[TRIPLE[place] for place in (*order, *repeats)])
    assert joined(moves).is_whole
    assert faults(joined(moves)) == []
    again = heard(*[TRIPLE[place] for place in (*repeats, *order)])
    assert joined(again) == joined(moves)


@given(st.sets(st.sampled_from(range(3)), min_size=1, max_size=2))
def test_what_is_missing_follows_from_what_is_there(there: set[int]) -> None:
    found = codes(joined(heard(*[TRIPLE[place] for place in sorted(there)])))
    no_cause = [("LEDGER_WALLET_DIFFER", "no_cause")]
    expected = {
        (0,): [("WALLET_MISSING", "not_heard"), ("LEDGER_MISSING", "not_heard")],
        (0, 1): [("LEDGER_MISSING", "not_heard")],
        (0, 2): [("WALLET_MISSING", "not_heard")],
        (1,): no_cause,
        (2,): no_cause,
        (1, 2): no_cause * 2,
    }
    assert found == expected[tuple(sorted(there))]


@pytest.mark.parametrize(
    "wrong",
    [
        of_wallet(net=1199),
        of_wallet(seller="seller-2"),
        of_ledger(templates.captured(capture(gross=Money(1235, "EUR"), fee=Money(35, "EUR")))),
        of_ledger(templates.captured(capture(psp="southpay"))),
        of_ledger(templates.negative(templates.captured(CAPTURED))),
    ],
    ids=["net", "seller", "gross and fee", "psp", "sides"],
)
def test_each_amount_that_differs_goes_to_a_person(wrong: AnyEvent) -> None:
    others = [event for event in TRIPLE if type(event) is not type(wrong)]
    move = joined(heard(*others, wrong))
    assert codes(move, past=False) == [("LEDGER_WALLET_DIFFER", "amounts")], "at once: nothing more is to come"
    assert faults(move)[0].detail["sellers"] == ["seller-1"]


def test_a_room_that_stands_still_has_missed_nothing() -> None:
    move = joined(heard(CAPTURED))
    assert faults(move, past=False) == []
    assert faults(move, now=NOW + timedelta(minutes=4, seconds=59)) == []
    just_past = Heard(move, NOW + timedelta(seconds=59), None, None)
    assert inside.fault(just_past, "wallet", False, NOW + timedelta(hours=1)) is None
    past = just_past._replace(wallet_until=NOW + timedelta(seconds=60))
    assert inside.fault(past, "wallet", False, NOW + timedelta(hours=1)) is not None


def test_what_is_open_stays_so_until_its_other_half_is_heard() -> None:
    move = joined(heard(CAPTURED, of_ledger()))
    assert inside.fault(Heard(move, None, None, None), "wallet", True, NOW) is not None
    whole = joined([move, *heard(of_wallet())])
    assert inside.fault(Heard(whole, None, None, None), "wallet", True, NOW) is None


def test_a_missing_effect_names_the_record_that_is_published_again() -> None:
    [wallet, ledger] = faults(joined(heard(CAPTURED)))
    record = {"event_id": CAPTURED_ID, "topic": "executions.v1", "partition": 3, "offset": 812}
    assert wallet.detail["record"] == ledger.detail["record"] == record
    assert (wallet.subject, wallet.amount, wallet.currency, wallet.psp) == (CAPTURED_ID, 1200, "EUR", "northpay")


def test_what_was_published_before_the_upgrade_is_not_compared() -> None:
    since = NOW
    assert heard(*TRIPLE, said_at=NOW - timedelta(seconds=1), since=since) == []
    [effect] = heard(of_wallet(), said_at=NOW + timedelta(hours=1), now=NOW + timedelta(hours=1), since=since)
    assert faults(effect, now=NOW + timedelta(hours=9)) == [], "of an execution before it, from a room that lagged"
    later = NOW + timedelta(days=1)
    [effect] = heard(of_wallet(), said_at=later, now=later, since=since)
    assert codes(effect, now=later + timedelta(hours=1)) == [("LEDGER_WALLET_DIFFER", "no_cause")]  # type: ignore[arg-type]


def test_what_topics_may_have_forgotten_the_other_half_of_is_no_break() -> None:
    """Journals are kept for ever, executions for thirty days."""
    now = NOW + timedelta(days=400)
    assert heard(of_ledger(), now=now) == []
    half = heard(of_ledger(), said_at=now - timedelta(days=28), now=now)
    assert faults(joined(half), now=now + timedelta(hours=1)) == []


def test_a_pay_out_is_compared_with_wallet_and_ledger() -> None:
    out: PayoutSubmitted = submitted()
    moves = {move.link: move for move in heard(out)}
    assert len(moves) == 2
    journal = JournalPosted(
        journal_id="j", template="payout_submitted", payout_id=out.payout_id, entries=templates.submitted(out)
    )
    [posted] = heard(journal)
    assert moves[posted.link].joined(posted).is_whole
    nothing = Money(0, "EUR")
    settled = ReservationSettled(
        payout_id=out.payout_id,
        movement_id="m",
        seller_account=out.seller_account,
        amount=out.amount,
        available=nothing,
        pending=nothing,
        reserved=nothing,
        wallet_version=1,
    )
    said_by_wallet = derive_id(CAPTURED_ID, "wallet", 0, 1_700_000_000_000)
    move = inside.effect(settled, cause(settled, said_by_wallet), ALWAYS)
    assert move is not None
    assert moves[move.link].joined(move).is_whole


def test_a_pay_out_that_has_arrived_moves_no_wallet() -> None:
    arrived: PayoutPaid = paid()
    [move] = heard(arrived)
    journal = JournalPosted(
        journal_id="j", template="payout_paid", payout_id=arrived.payout_id, entries=templates.paid(arrived)
    )
    assert move.joined(heard(journal)[0]).is_whole
