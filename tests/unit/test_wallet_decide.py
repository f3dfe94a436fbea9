"""What the wallet credits, and what it refuses."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.wallet.decide import Purchase, Side, Wallet, Wallets, decide
from schemas.errors import Permanent
from schemas.events import OutcomeUnknown, OutcomeUnresolved, PaymentCaptured, PaymentDeclined, WalletCredited
from schemas.money import Money
from tests.captures import capture, cause
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


def said(decision: Decision) -> WalletCredited:
    (event,) = decision.events
    assert isinstance(event, WalletCredited)
    return event


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
