"""A break between wallet and ledger holds its seller's pay-outs until it is closed, in whatever order it is heard."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from consumers.payouts.stuck import _next
from schemas.breaks import BreakChanged, BreakOpened, BreakResolved
from schemas.money import Money
from schemas.payouts import PayoutReady, PayoutWithdrawn
from tests.unit.payouts_room import NOW, Room, asked, room, seller

Kind = type[BreakOpened] | type[BreakChanged] | type[BreakResolved]


def said(kind: Kind, revision: int, number: int = 1, **changes: object) -> Any:
    terms: dict[str, object] = {
        "break_id": f"{number:032x}",
        "revision": revision,
        "code": "LEDGER_WALLET_DIFFER",
        "break_class": "B",
        "subject": "order-1",
        "source": "",
        "psp": "northpay",
        "items": 0 if kind is BreakResolved else 1,
        "amount": Money(100, "EUR"),
        "sellers": ("s-1",),
        "holds_payouts": True,
        "opened_at": NOW,
    }
    return kind(**{**terms, **changes})  # type: ignore[arg-type]


def waiting(seen: Room) -> bool:
    return seen.standing() == ("on_hold", "open_break")


def all_but_released(*breaks: Any) -> Room:
    """A pay-out whose every other gate is open."""
    seen = asked()
    for each in breaks:
        seen.hears(each)
    seen.screens()
    seen.reserves()
    return seen


def test_a_pay_out_waits_while_a_break_is_open_and_goes_on_when_it_is_closed() -> None:
    seen = all_but_released(said(BreakOpened, 1))
    assert waiting(seen)
    assert seen.all_said(PayoutReady) == []
    assert "tally recon sellers" in _next("po-1", "on_hold", "open_break")
    seen.hears(said(BreakResolved, 2))
    assert seen.standing() == ("processing", None)
    assert len(seen.all_said(PayoutReady)) == 1


def test_one_that_is_released_is_withdrawn_and_released_anew_once_all_breaks_are_closed() -> None:
    seen = all_but_released()
    assert seen.standing()[0] == "processing"
    seen.hears(said(BreakOpened, 1, number=1))
    seen.hears(said(BreakOpened, 1, number=2))
    assert [each.release_no for each in seen.all_said(PayoutWithdrawn)] == [1]
    seen.executes("not_sent", code="withdrawn")
    assert waiting(seen)
    seen.hears(said(BreakResolved, 2, number=1))
    assert waiting(seen), "the other one is open"
    seen.hears(said(BreakResolved, 2, number=2))
    assert [each.release_no for each in seen.all_said(PayoutReady)] == [1, 2]


def test_one_that_had_left_before_is_what_the_provider_says() -> None:
    seen = all_but_released()
    seen.hears(said(BreakOpened, 1))
    seen.executes("submitted")
    assert seen.standing() == ("submitted", None)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_the_newest_word_counts_in_any_order_and_however_often(order: tuple[int, ...]) -> None:
    words = (said(BreakOpened, 1), said(BreakChanged, 2), said(BreakResolved, 3))
    seen = all_but_released(*[words[place] for place in order], *[words[place] for place in order])
    assert seen.standing() == ("processing", None)
    again = all_but_released(*[words[place] for place in order], said(BreakOpened, 4))
    assert waiting(again)


@pytest.mark.parametrize("changes", [{"holds_payouts": False}, {"sellers": ("s-2",)}, {"sellers": ()}], ids=str)
def test_a_break_of_another_kind_or_seller_holds_nothing(changes: dict[str, object]) -> None:
    seen = all_but_released(said(BreakOpened, 1, **changes))
    assert seen.standing() == ("processing", None)


def test_a_frozen_seller_stays_so_and_a_thaw_does_not_pass_an_open_break() -> None:
    seen = all_but_released(said(BreakOpened, 1))
    seen.hears(seller(seller_revision=2, state="frozen"))
    assert seen.standing() == ("on_hold", "seller_frozen")
    seen.hears(seller(seller_revision=3))
    assert waiting(seen)


def test_what_is_asked_for_while_a_break_is_open_is_reserved_and_waits() -> None:
    seen = room()
    seen.hears(said(BreakOpened, 1))
    assert seen.state.is_held("s-1")
    assert not seen.state.is_held("s-2")
