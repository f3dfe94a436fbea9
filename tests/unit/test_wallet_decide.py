"""What the wallet credits, and what it refuses."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.wallet.decide import decide
from consumers.wallet.holding import Side
from consumers.wallet.wallet import Purchase, Wallet, Wallets
from schemas.errors import Permanent
from schemas.events import (
    AnyEvent,
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentDeclined,
    WalletCredited,
    WalletMoved,
)
from schemas.money import Money
from schemas.money_back import WalletDebited
from tests.captures import capture, cause
from tests.money_back import (
    DISPUTE_ID,
    capture_reversed,
    captured,
    lost,
    opened,
    refund_reversed,
    refunded,
    share,
    won,
)
from topics.runtime.shape.consumer import Decision


class Opening(dict[Side, Wallet]):
    """A wallet is opened when it is first looked at, as the store does."""

    def __missing__(self, side: Side) -> Wallet:
        return Wallet(*side)


def no_wallets() -> Wallets:
    """The room's state without a database."""
    return Wallets(Opening())


def hear(wallets: Wallets, event: object, seed: str = "1") -> Decision:
    decision = decide(wallets, event, cause(seed))  # type: ignore[arg-type]
    for change in decision.changes:
        wallets.fold(change)  # type: ignore[arg-type]
    return decision


def said(decision: Decision) -> WalletMoved:
    (event,) = decision.events
    assert isinstance(event, WalletMoved)
    return event


def told(decision: Decision) -> tuple[type, str | None, str | None, int, int]:
    """(event, reason, part, amount, available after it)."""
    event = said(decision)
    assert isinstance(event, WalletCredited | WalletDebited)
    return type(event), event.reason, event.part, event.amount.minor, event.available.minor


def hear_all(wallets: Wallets, *events: object) -> list[Decision]:
    """Each under an event id of its own."""
    return [hear(wallets, event, str(place)) for place, event in enumerate(events)]


def test_a_capture_credits_the_net_amount_and_says_the_balances_after_it() -> None:
    wallets = no_wallets()
    hear(wallets, capture("order-1"), "1")
    event = said(hear(wallets, capture("order-2", gross=Money(100, "EUR"), fee=Money(0, "EUR"), net=Money(100, "EUR"))))
    assert event.amount == Money(100, "EUR")
    assert (event.available, event.pending, event.reserved) == (Money(1300, "EUR"), Money(0, "EUR"), Money(0, "EUR"))
    assert event.wallet_version == 2


def test_currencies_are_kept_apart() -> None:
    wallets = no_wallets()
    hear(wallets, capture("order-1"), "1")
    yen = Money(500, "JPY")
    event = said(hear(wallets, capture("order-2", gross=yen, fee=Money(0, "JPY"), net=yen), "2"))
    assert event.available == yen


def test_the_buyer_has_paid_the_gross_amount() -> None:
    changes = hear(no_wallets(), capture()).changes
    assert [change for change in changes if isinstance(change, Purchase)] == [Purchase("buyer-1", Money(1234, "EUR"))]


@pytest.mark.parametrize("kind", [PaymentDeclined, OutcomeUnknown, OutcomeUnresolved])
def test_what_is_not_captured_moves_nothing(kind: type) -> None:
    terms = {**capture().terms(), "psp": "northpay", "call_id": "0" * 32, "code": "do_not_honor", "reason": "timeout"}
    assert hear(no_wallets(), kind(**terms)) == Decision()


def test_the_same_capture_under_another_event_id_credits_once() -> None:
    wallets = no_wallets()
    hear(wallets, capture(), "1")
    assert hear(wallets, capture(), "2") == Decision()


@pytest.mark.parametrize(
    "changes",
    [{"net": Money(1201, "EUR")}, {"seller_account": "seller-2"}, {"checkout_id": "checkout-2"}],
)
def test_a_second_capture_of_an_order_on_other_terms_is_a_dead_letter(changes: dict[str, object]) -> None:
    wallets = no_wallets()
    hear(wallets, capture(), "1")
    with pytest.raises(Permanent, match="movement_differs"):
        hear(wallets, capture(**changes), "2")


def test_the_same_event_always_gives_the_same_movement() -> None:
    assert hear(no_wallets(), capture(), "7") == hear(no_wallets(), capture(), "7")


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["EUR", "JPY"]), st.integers(0, 10**9)), max_size=12),
    st.lists(st.integers(0, 11), max_size=20),
)
def test_any_sequence_with_repeats_gives_the_wallets_that_a_small_model_predicts(
    terms: list[tuple[int, str, int]], repeats: list[int]
) -> None:
    orders: list[PaymentCaptured] = [
        capture(f"order-{number}", seller_account=f"seller-{seller}", gross=net, net=net, fee=Money(0, net.currency))
        for number, (seller, net) in enumerate((seller, Money(minor, currency)) for seller, currency, minor in terms)
    ]
    model: Counter[tuple[str, str]] = Counter()
    for seller, currency, minor in terms:
        model[f"seller-{seller}", currency] += minor
    wallets = no_wallets()
    for place, event in enumerate(orders + [orders[number] for number in repeats if number < len(orders)]):
        hear(wallets, event, str(place))
    found = wallets.wallets
    assert {key: wallet.available for key, wallet in found.items()} == dict(model)
    assert sum(wallet.version for wallet in found.values()) == len(terms)


# ── captures in parts, and money that goes back ──────────────────────────────────────────────────────────────────────

HALF = share(617, 17)
WHOLE = share(1234, 34)


def test_each_capture_of_an_order_credits_its_own_part() -> None:
    heard = hear_all(no_wallets(), captured("first", HALF), captured("second", HALF))
    assert [told(decision) for decision in heard] == [
        (WalletCredited, None, "first", 600, 600),
        (WalletCredited, None, "second", 600, 1200),
    ]


def test_a_capture_of_the_whole_says_what_it_always_said() -> None:
    event = said(hear(no_wallets(), capture()))
    assert event.model_dump_json(exclude_none=True).count("part") == 0
    assert event.model_dump_json(exclude_none=True).count("reason") == 0


def test_refunds_chargebacks_and_reversals_debit_and_credit_by_their_reason_and_part() -> None:
    heard = hear_all(
        no_wallets(),
        capture(),
        refunded("r-1", HALF),
        refund_reversed("r-1", HALF),
        refunded("r-1", HALF, turn=2),
        opened(HALF),
        won(HALF),
        opened(HALF, stage=2),
        capture_reversed(None, WHOLE),
        captured(None, WHOLE, turn=2),
    )
    assert [told(decision) for decision in heard] == [
        (WalletCredited, None, None, 1200, 1200),
        (WalletDebited, "refunded", "r-1", 600, 600),
        (WalletCredited, "refund_reversed", "r-1", 600, 1200),
        (WalletDebited, "refunded", "r-1#2", 600, 600),
        (WalletDebited, "chargeback_opened", f"{DISPUTE_ID}.1", 600, 0),
        (WalletCredited, "chargeback_won", f"{DISPUTE_ID}.1", 600, 600),
        (WalletDebited, "chargeback_opened", f"{DISPUTE_ID}.2", 600, 0),
        (WalletDebited, "capture_reversed", "", 1200, -1200),
        (WalletCredited, None, "#2", 1200, 0),
    ]


def test_a_debit_takes_the_wallet_below_zero_where_the_money_is_not_there() -> None:
    event = said(hear(no_wallets(), refunded("r-1", HALF)))
    assert (event.available, event.pending, event.reserved) == (Money(-600, "EUR"), Money(0, "EUR"), Money(0, "EUR"))


def test_a_net_that_is_a_cent_below_zero_keeps_its_sign() -> None:
    assert told(hear(no_wallets(), refunded("r-1", share(1, 2)))) == (WalletDebited, "refunded", "r-1", -1, 1)


@pytest.mark.parametrize(
    ("terms", "after"),
    [
        ({}, -2100),
        ({"dispute_fee_on": "seller"}, -2100),
        ({"dispute_fee_on": "platform"}, -600),
    ],
)
def test_the_dispute_fee_is_borne_as_the_terms_say(terms: dict[str, object], after: int) -> None:
    wallets, fee = no_wallets(), Money(1500, "EUR")
    assert said(hear(wallets, opened(HALF, fee, **terms), "1")).available.minor == after
    assert said(hear(wallets, won(HALF, fee, **terms), "2")).available.minor == 0


def test_a_dispute_fee_in_another_currency_is_not_the_sellers() -> None:
    wallets = no_wallets()
    assert said(hear(wallets, opened(HALF, Money(1500, "USD")))).available == Money(-600, "EUR")
    assert list(wallets.wallets) == [("seller-1", "EUR")]


def test_a_chargeback_that_is_won_without_its_fee_leaves_the_fee_with_the_seller() -> None:
    wallets = no_wallets()
    hear(wallets, opened(HALF, Money(1500, "EUR")), "1")
    assert said(hear(wallets, won(HALF), "2")).available.minor == -1500


def test_a_lost_chargeback_moves_nothing_more() -> None:
    assert hear(no_wallets(), lost(HALF)) == Decision()


MOVING: list[AnyEvent] = [
    captured("c-1", HALF),
    capture_reversed("c-1", HALF),
    refunded("r-1", HALF),
    refund_reversed("r-1", HALF),
    opened(HALF),
    won(HALF),
]


@pytest.mark.parametrize("event", MOVING, ids=lambda event: type(event).__name__)
def test_the_same_fact_under_another_event_id_moves_once(event: AnyEvent) -> None:
    wallets = no_wallets()
    hear(wallets, event, "1")
    assert hear(wallets, event, "2") == Decision()
    assert wallets.wallets["seller-1", "EUR"].version == 1


@pytest.mark.parametrize("event", MOVING, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("other", [{"seller_account": "seller-2"}, {"checkout_id": "checkout-2"}])
def test_the_same_fact_on_other_terms_is_a_dead_letter(event: AnyEvent, other: dict[str, object]) -> None:
    wallets = no_wallets()
    hear(wallets, event, "1")
    with pytest.raises(Permanent, match="movement_differs"):
        hear(wallets, event.model_copy(update=other), "2")


def test_another_amount_for_the_same_refund_is_a_dead_letter() -> None:
    wallets = no_wallets()
    hear(wallets, refunded("r-1", HALF), "1")
    with pytest.raises(Permanent, match="movement_differs"):
        hear(wallets, refunded("r-1", WHOLE), "2")


def test_an_order_captured_in_parts_counts_once_for_its_buyer() -> None:
    heard = hear_all(no_wallets(), captured("c-1", HALF), captured("c-2", HALF), captured("c-2", HALF, turn=2))
    purchases = [change for decision in heard for change in decision.changes if isinstance(change, Purchase)]
    assert [(purchase.gross.minor, purchase.orders) for purchase in purchases] == [(617, 1), (617, 0), (617, 0)]


def test_what_a_psp_takes_back_is_neither_paid_nor_refunded() -> None:
    heard = hear_all(
        no_wallets(), capture(), refunded("r-1", HALF), refund_reversed("r-1", HALF), capture_reversed(None, WHOLE)
    )
    purchases = [change for decision in heard for change in decision.changes if isinstance(change, Purchase)]
    assert sum(purchase.gross.minor for purchase in purchases) == 0
    assert [purchase.refunded for purchase in purchases] == [0, 617, -617, 0]


@given(st.lists(st.tuples(st.integers(-3, 10**6), st.integers(-3, 10**6)), min_size=1, max_size=8))
def test_whatever_is_taken_back_in_full_leaves_the_wallet_as_it_was(parts: list[tuple[int, int]]) -> None:
    wallets = no_wallets()
    for number, (gross, fee) in enumerate(parts):
        of = share(gross, fee)
        for seed, event in (
            ("a", captured(f"c-{number}", of)),
            ("b", refunded(f"r-{number}", of)),
            ("c", refund_reversed(f"r-{number}", of)),
            ("d", capture_reversed(f"c-{number}", of)),
        ):
            hear(wallets, event, f"{number}{seed}")
    assert wallets.wallets["seller-1", "EUR"].available == 0
    assert wallets.wallets["seller-1", "EUR"].version == 4 * len(parts)
