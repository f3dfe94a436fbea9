"""What is reserved for a pay-out, what leaves for it, and what comes back: every row of its table."""

from __future__ import annotations

from itertools import count

import pytest

from consumers.wallet.wallet import Reservation, Wallet, Wallets
from schemas.errors import Permanent
from schemas.money import Money
from schemas.payouts import (
    FundsReserved,
    FundsReturned,
    PayoutEvent,
    PayoutReady,
    PayoutRefused,
    PayoutStatusChanged,
    PayoutWithdrawn,
    ReservationMoved,
    ReservationRefused,
    ReservationReleased,
    ReservationSettled,
)
from tests.captures import NOW, capture
from tests.payouts import (
    AMOUNT,
    PAYOUT,
    SELLER,
    failed,
    given_up,
    not_sent,
    paid,
    placed,
    refused,
    returned,
    submitted,
    unknown,
    unresolved,
)
from tests.unit.test_wallet_decide import hear, no_wallets
from topics.runtime.shape.consumer import Decision

_seeds = (str(number) for number in count(1000))
RESERVED = [placed()]
RELEASED = [placed(), given_up()]
SETTLED = [placed(), submitted()]
RETURNED = [placed(), submitted(), failed()]


def rich(minor: int = 25_000) -> Wallets:
    """The seller's wallet with so much available."""
    wallets = no_wallets()
    wallets.wallets[SELLER, "EUR"] = Wallet(SELLER, "EUR", available=minor)
    return wallets


def tell(wallets: Wallets, *events: object) -> list[Decision]:
    """Each under an event id of its own."""
    return [hear(wallets, event, next(_seeds)) for event in events]


def pockets(wallets: Wallets) -> tuple[int, int, int]:
    """(available, pending, reserved)"""
    wallet = wallets.wallets[SELLER, "EUR"]
    return wallet.available, wallet.pending, wallet.reserved


def reservation(wallets: Wallets, payout_id: str = PAYOUT) -> Reservation:
    return wallets.reservations[payout_id]


@pytest.mark.parametrize(
    ("before", "event", "kind", "state", "after"),
    [
        ([], placed(), FundsReserved, "reserved", (15_000, 0, 10_000)),
        (RESERVED, given_up(), ReservationReleased, "released", (25_000, 0, 0)),
        (RESERVED, submitted(), ReservationSettled, "settled", (15_000, 0, 0)),
        (RESERVED, submitted(2), ReservationSettled, "settled", (15_000, 0, 0)),
        (RELEASED, submitted(2), ReservationSettled, "settled", (15_000, 0, 0)),
        (RETURNED, submitted(2), ReservationSettled, "settled", (15_000, 0, 0)),
        (RESERVED, refused(), ReservationReleased, "released", (25_000, 0, 0)),
        (SETTLED, failed(), FundsReturned, "returned", (25_000, 0, 0)),
        (SETTLED, returned(), FundsReturned, "returned", (25_000, 0, 0)),
        (SETTLED, returned(returned=Money(9_900, "EUR")), FundsReturned, "returned", (25_000, 0, 0)),
        ([*RETURNED, submitted(2)], failed(2), FundsReturned, "returned", (25_000, 0, 0)),
    ],
)
def test_a_reservation_s_way(
    before: list[PayoutEvent], event: PayoutEvent, kind: type, state: str, after: tuple[int, int, int]
) -> None:
    wallets = rich()
    *_, decision = tell(wallets, *before, event)
    [said] = decision.events
    assert type(said) is kind
    assert isinstance(said, ReservationMoved)
    assert (said.payout_id, said.seller_account, said.amount) == (PAYOUT, SELLER, AMOUNT)
    assert (said.available.minor, said.pending.minor, said.reserved.minor) == after == pockets(wallets)
    assert (reservation(wallets).state, said.wallet_version) == (state, wallets.wallets[SELLER, "EUR"].version)


@pytest.mark.parametrize(
    ("before", "event"),
    [
        (RESERVED, placed()),
        (RELEASED, placed()),
        (SETTLED, placed()),
        (RETURNED, placed()),
        (RELEASED, given_up()),
        (SETTLED, given_up()),  # a late yes and a cancel have crossed
        (RETURNED, given_up()),
        ([], given_up()),
        (SETTLED, submitted()),  # each the same fact under another event id
        (RETURNED, submitted()),
        (RETURNED, failed()),
        ([*RETURNED, submitted(2)], submitted()),
        ([*RETURNED, submitted(2)], failed()),
        ([placed(), refused()], refused()),
        (RELEASED, refused()),  # given up and refused at once
        ([placed(), refused(), submitted(2)], refused()),
        *[(SETTLED, event) for event in (paid(), unknown(), unresolved(), not_sent())],
        *[(RESERVED, event) for event in (paid(), unknown(), unresolved(), not_sent())],
    ],
)
def test_what_changes_nothing(before: list[PayoutEvent], event: PayoutEvent) -> None:
    wallets = rich()
    tell(wallets, *before)
    assert tell(wallets, event) == [Decision()]


def test_what_payouts_says_to_others_moves_nothing() -> None:
    about = {"payout_id": PAYOUT, "owner": "shop"}
    wallets = rich()
    said = [
        PayoutWithdrawn(payout_id=PAYOUT, release_no=1),
        PayoutStatusChanged(**about, seller_account=SELLER, currency="EUR", status="paid"),
        PayoutRefused(**about, code="unknown_seller", detail=""),
        PayoutReady.model_construct(**about),
    ]
    assert tell(wallets, *said) == [Decision()] * 4


@pytest.mark.parametrize(
    ("available", "event", "code"),
    [
        (9_999, placed(), "insufficient_funds"),
        (0, placed(None), "insufficient_funds"),
        (-500, placed(None), "insufficient_funds"),
        (500, placed(None, keep=Money(500, "EUR")), "insufficient_funds"),
        (999, placed(None, minimum=Money(1_000, "EUR")), "below_minimum"),
        (1_499, placed(None, minimum=Money(1_000, "EUR"), keep=Money(500, "EUR")), "below_minimum"),
        (400, placed(None, minimum=Money(1_000, "EUR"), keep=Money(500, "EUR")), "insufficient_funds"),
    ],
)
def test_too_little_is_refused_and_nothing_moves(available: int, event: PayoutEvent, code: str) -> None:
    wallets = rich(available)
    [decision] = tell(wallets, event)
    [said] = decision.events
    assert isinstance(said, ReservationRefused)
    assert (said.payout_id, said.code, said.available) == (PAYOUT, code, Money(available, "EUR"))
    assert pockets(wallets) == (available, 0, 0)
    assert tell(wallets, capture(net=Money(90_000, "EUR"), gross=Money(90_034, "EUR")), event, given_up())[1:] == [
        Decision(),
        Decision(),
    ], "a refused one never reserves later, however much there is then"


@pytest.mark.parametrize(
    ("available", "event", "amount"),
    [
        (1, placed(None), 1),
        (25_000, placed(None), 25_000),
        (25_000, placed(None, keep=Money(500, "EUR")), 24_500),
        (1_500, placed(None, minimum=Money(1_000, "EUR"), keep=Money(500, "EUR")), 1_000),
        (10_000, placed(), 10_000),
        (10_000, placed(minimum=Money(20_000, "EUR"), keep=Money(500, "EUR")), 10_000),  # both are of `all`
    ],
)
def test_the_wallet_names_the_amount_where_all_is_asked(available: int, event: PayoutEvent, amount: int) -> None:
    wallets = rich(available)
    [decision] = tell(wallets, event)
    [said] = decision.events
    assert isinstance(said, FundsReserved)
    assert said.amount == Money(amount, "EUR")
    assert pockets(wallets) == (available - amount, 0, amount)


def test_all_never_takes_what_is_pending() -> None:
    wallets = no_wallets()
    wallets.wallets[SELLER, "EUR"] = Wallet(SELLER, "EUR", available=300, pending=5_000)
    tell(wallets, placed(None))
    assert pockets(wallets) == (0, 5_000, 300)


def test_two_pay_outs_of_all_find_what_is_left() -> None:
    wallets = rich()
    first, second = tell(wallets, placed(None), placed(None, payout_id="payout-2"))
    assert [type(decision.events[0]) for decision in (first, second)] == [FundsReserved, ReservationRefused]
    assert pockets(wallets) == (0, 0, 25_000)


def test_a_late_yes_is_paid_from_what_is_available_below_zero_if_need_be() -> None:
    wallets = rich(10_000)
    tell(wallets, placed(), given_up(), placed(payout_id="payout-2"))
    [decision] = tell(wallets, submitted(2))
    [said] = decision.events
    assert isinstance(said, ReservationSettled)
    assert said.late is True
    assert pockets(wallets) == (-10_000, 0, 10_000), "and the reservation of the other one is its own"
    on_time = tell(wallets, submitted(payout_id="payout-2"))[0].events[0]
    assert isinstance(on_time, ReservationSettled)
    assert on_time.late is None


def test_each_turn_moves_once() -> None:
    wallets = rich()
    turns = [placed(), submitted(), returned(), submitted(2), returned(2), submitted(3)]
    tell(wallets, *turns, *turns, *reversed(turns))
    assert pockets(wallets) == (15_000, 0, 0)
    assert sorted(key[1:] for key in wallets.movements) == [
        ("reserved", ""),
        ("returned", ""),
        ("returned", "#2"),
        ("settled", ""),
        ("settled", "#2"),
        ("settled", "#3"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": Money(9_999, "EUR")},
        {"amount": None},
        {"seller_account": "seller-2"},
        {"currency": "JPY", "amount": Money(10_000, "JPY")},
        {"currency": "JPY"},
        {"owner": "other"},
        {"minimum": Money(1, "EUR")},
        {"keep": Money(1, "EUR")},
    ],
)
@pytest.mark.parametrize("before", [RESERVED, RELEASED, SETTLED, RETURNED])
def test_a_pay_out_placed_again_on_other_terms_is_a_dead_letter(
    before: list[PayoutEvent], changes: dict[str, object]
) -> None:
    wallets = rich()
    tell(wallets, *before)
    as_before = pockets(wallets)
    with pytest.raises(Permanent, match="reservation_differs"):
        tell(wallets, placed(**changes))  # type: ignore[arg-type]
    assert pockets(wallets) == as_before


@pytest.mark.parametrize(
    ("before", "event", "code"),
    [
        ([], submitted(), "unknown_reservation"),
        ([], failed(), "unknown_reservation"),
        ([], refused(), "unknown_reservation"),
        (RESERVED, submitted(amount=Money(9_999, "EUR")), "reservation_differs"),
        (RESERVED, submitted(seller_account="seller-2"), "reservation_differs"),
        (SETTLED, submitted(amount=Money(9_999, "EUR")), "reservation_differs"),
        (RESERVED, given_up(seller_account="seller-2"), "reservation_differs"),
        (RESERVED, failed(), "contradiction"),
        (RESERVED, returned(), "contradiction"),
        (RELEASED, returned(), "contradiction"),
        (SETTLED, submitted(2), "contradiction"),
        (SETTLED, refused(), "contradiction"),
        (RETURNED, failed(2), "contradiction"),
    ],
)
def test_what_cannot_be_is_a_dead_letter(before: list[PayoutEvent], event: PayoutEvent, code: str) -> None:
    wallets = rich()
    tell(wallets, *before)
    with pytest.raises(Permanent, match=code):
        tell(wallets, event)


def test_a_reservation_keeps_its_causes_and_counts_its_states() -> None:
    wallets = rich()
    one, two = (hear(wallets, event, seed) for event, seed in ((placed(), "p"), (submitted(), "s")))
    kept = reservation(wallets)
    assert (one.revision, two.revision, kept.version, kept.placed_at) == (1, 2, 2, NOW)
    assert kept.placed_by != kept.moved_by == wallets.movements[PAYOUT, "settled", ""].cause_event_id
