"""Why a seller is paid or not: every cent of a wallet has one reason, a date where there is one, and somebody's turn.

Histories are seeded: TALLY_HISTORIES of them (2,000), from TALLY_SEED on (drawn, and printed).
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from producers.payability import (
    Books,
    Held,
    Line,
    Payability,
    Payout,
    Reason,
    Reserved,
    Rules,
    Wallet,
    payability,
)
from schemas.money import Money
from schemas.payouts import SealedDestination
from schemas.sellers import Schedule, SellerSet
from topics.exchange_rates import FxRate
from topics.payout_accounts import PayoutProviderAccount

HISTORIES = int(os.environ.get("TALLY_HISTORIES", "2000"))
NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
IBAN = SealedDestination("iban", "DE", "DE89 … 3000", "0123456789abcdef", "c2VhbGVk")


def provider(**more: Any) -> PayoutProviderAccount:
    given = {"name": "harbour", "adapter": "harbour", "url": "http://localhost", "api_key": "k", "bank_account": "main"}
    return PayoutProviderAccount.model_validate(given | more)


RULES = Rules((provider(),), {"EUR": 100})


def rates(**to: str) -> tuple[FxRate, ...]:
    """From euros."""
    return tuple(FxRate(currency="EUR", payout_currency=currency, rate=rate) for currency, rate in to.items())


def seller(**more: Any) -> SellerSet:
    given: dict[str, Any] = {
        "seller_account": "s-1",
        "owner": "shop",
        "seller_revision": 1,
        "state": "active",
        "destination": IBAN,
    }
    return SellerSet(**given | more)


def explain(books: Books, of: SellerSet | None = None, rules: Rules = RULES) -> Payability:
    (found,) = payability(seller() if of is None else of, books, rules, NOW)
    return found


def lines(found: Payability) -> list[tuple[Reason, int]]:
    return [(line.reason, line.amount) for line in found.lines]


# ── each reason ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_available_can_be_paid_out_and_it_is_the_platforms_turn() -> None:
    found = explain(Books([Wallet("EUR", 500, 0, 0)]))
    assert (found.payable_now, found.total, found.more_on) == (500, 500, None)
    assert found.lines == (Line("available", 500, "platform"),)


def test_what_is_pending_says_until_when_hour_by_hour_and_the_next_date_is_the_first_of_them() -> None:
    held = [
        Held("EUR", "net", 200, NOW + DAY),
        Held("EUR", "net", 50, NOW + DAY),
        Held("EUR", "reserve", 70, NOW + 9 * DAY),
    ]
    found = explain(Books([Wallet("EUR", 0, 320, 0)], held))
    assert found.lines == (
        Line("hold_days", 250, "nobody", NOW + DAY),
        Line("reserve", 70, "nobody", NOW + 9 * DAY),
    )
    assert (found.payable_now, found.more_on) == (0, NOW + DAY)


def test_what_is_reserved_names_its_pay_out_and_who_must_act() -> None:
    payouts = [
        Payout("EUR", "po-1", "awaiting_approval", 100),
        Payout("EUR", "po-2", "processing", 200),
        Payout("EUR", "po-3", "in_review", 300),
    ]
    reserved = [Reserved("EUR", f"po-{number}", 100 * number) for number in (1, 2, 3)]
    found = explain(Books([Wallet("EUR", 0, 0, 600)], (), reserved, payouts))
    assert found.lines == (
        Line("reserved_for_payout", 100, "platform", None, "po-1", "awaiting_approval"),
        Line("reserved_for_payout", 200, "provider", None, "po-2", "processing"),
        Line("held_for_review", 300, "platform", None, "po-3", "in_review"),
    )


def test_a_pay_out_in_review_holds_what_it_asks_for_before_anything_is_reserved() -> None:
    found = explain(Books([Wallet("EUR", 500, 0, 0)], payouts=[Payout("EUR", "po-1", "in_review", 200)]))
    assert lines(found) == [("held_for_review", 200), ("available", 300)]
    found = explain(Books([Wallet("EUR", 500, 0, 0)], payouts=[Payout("EUR", "po-1", "in_review", None)]))
    assert lines(found) == [("held_for_review", 500)]


def test_less_than_the_minimum_waits_for_more() -> None:
    found = explain(Books([Wallet("EUR", 99, 200, 0)], [Held("EUR", "net", 200, NOW + HOUR)]))
    assert lines(found) == [("below_minimum", 99), ("hold_days", 200)]
    assert (found.payable_now, found.more_on) == (0, NOW + HOUR)


def test_a_schedule_keeps_some_back_and_has_a_minimum_of_its_own() -> None:
    scheduled = seller(schedules=(Schedule("EUR", "day", "06:00", minimum=Money(300, "EUR"), keep=Money(150, "EUR")),))
    assert lines(explain(Books([Wallet("EUR", 450, 0, 0)]), scheduled)) == [("kept_back", 150), ("available", 300)]
    assert lines(explain(Books([Wallet("EUR", 449, 0, 0)]), scheduled)) == [("kept_back", 150), ("below_minimum", 299)]
    assert lines(explain(Books([Wallet("EUR", 100, 0, 0)]), scheduled)) == [("kept_back", 100)]
    assert lines(explain(Books([Wallet("USD", 100, 0, 0)]), scheduled)) == [("available", 100)]


def test_a_wallet_that_is_negative_has_one_line() -> None:
    books = Books([Wallet("EUR", -900, 200, 100)], [Held("EUR", "net", 200, NOW)], [Reserved("EUR", "po-1", 100)])
    found = explain(books)
    assert found.lines == (Line("negative_balance", -600, "seller"),)
    assert (found.payable_now, found.more_on) == (0, None)


def test_a_debt_is_paid_off_by_what_becomes_available_before_more_can_be_paid_out() -> None:
    held = [Held("EUR", "net", 300, NOW + HOUR), Held("EUR", "net", 300, NOW + DAY)]
    found = explain(Books([Wallet("EUR", -250, 600, 0)], held))
    assert lines(found) == [("negative_balance", -250), ("hold_days", 300), ("hold_days", 300)]
    assert found.more_on == NOW + DAY, "after the first 3.00 there is less than the minimum"


@pytest.mark.parametrize(
    ("reason", "of", "rules"),
    [
        ("not_registered", None, RULES),
        ("seller_closed", seller(state="closed", destination=None), RULES),
        ("seller_frozen", seller(state="frozen", destination=None), RULES),
        ("no_destination", seller(destination=None), Rules()),
        ("blocked_country", seller(), Rules((provider(),), countries_blocked=frozenset({"DE"}))),
        ("no_provider", seller(), Rules()),
        ("no_provider", seller(destination=replace(IBAN, type="provider_account", provider="beta")), RULES),
        ("no_provider", seller(), Rules((provider(currencies=["USD"]),))),
        ("no_provider", seller(), Rules((provider(countries=["FR"]),))),
        ("no_provider", seller(), Rules((provider(currencies=["USD"]),), rates=rates(JPY="162.35"))),
    ],
)
def test_a_closed_gate_holds_all_that_is_available_and_no_date_is_known(
    reason: Reason, of: SellerSet | None, rules: Rules
) -> None:
    (found,) = payability(of, Books([Wallet("EUR", 500, 10, 0)], [Held("EUR", "net", 10, NOW + HOUR)]), rules, NOW)
    assert lines(found) == [(reason, 500), ("hold_days", 10)]
    assert (found.payable_now, found.more_on) == (0, None)


def test_money_that_a_provider_sends_in_another_currency_can_be_paid_out() -> None:
    rules = Rules((provider(currencies=["USD"]),), rates=rates(USD="1.0825"))
    assert explain(Books([Wallet("EUR", 500, 0, 0)]), rules=rules).payable_now == 500


def test_a_new_destination_cools_until_it_may_be_used_without_one_more_person() -> None:
    changed = seller(destination_changed_at=NOW - HOUR)
    found = explain(Books([Wallet("EUR", 500, 10, 0)], [Held("EUR", "net", 10, NOW + HOUR)]), changed)
    assert found.lines[0] == Line("destination_cooling", 500, "nobody", NOW + 23 * HOUR)
    assert (found.payable_now, found.more_on) == (0, NOW + 23 * HOUR)
    assert explain(Books([Wallet("EUR", 500, 0, 0)]), seller(destination_changed_at=NOW - DAY)).payable_now == 500


def test_currencies_are_explained_apart_and_an_empty_wallet_has_no_line() -> None:
    books = Books([Wallet("USD", 0, 0, 0), Wallet("EUR", 500, 0, 7)], (), [Reserved("EUR", "po-1", 7)])
    assert [(each.currency, len(each.lines)) for each in payability(seller(), books, RULES, NOW)] == [
        ("EUR", 2),
        ("USD", 0),
    ]


# ── any history ──────────────────────────────────────────────────────────────────────────────────────────────────────


class History:
    """What may happen to one seller, kept in plain lists."""

    is_held = False  # a break is open about the seller

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.available: Counter[str] = Counter()
        self.held: list[Held] = []
        self.reserved: list[Reserved] = []
        self.payouts: dict[str, Payout] = {}
        for _ in range(self.draw.randint(1, 25)):
            self.draw.choice(
                (self.credit, self.credit, self.hold, self.hold, self.ask, self.reserve, self.end, self.debit)
            )()

    def currency(self) -> str:
        return self.draw.choice(("EUR", "EUR", "JPY", "USD"))

    def credit(self) -> None:
        self.available[self.currency()] += self.draw.randint(0, 500)

    def debit(self) -> None:
        self.available[self.currency()] -= self.draw.randint(0, 700)

    def hold(self) -> None:
        until = NOW + self.draw.randint(-2, 6) * HOUR
        self.held.append(Held(self.currency(), self.draw.choice(("net", "reserve")), self.draw.randint(1, 300), until))

    def ask(self) -> None:
        payout_id = f"po-{len(self.payouts)}"
        status: Any = self.draw.choice(("received", "screening", "in_review", "in_review", "reserving"))
        asked = self.draw.choice((None, self.draw.randint(1, 500)))
        self.payouts[payout_id] = Payout(self.currency(), payout_id, status, asked)

    def reserve(self) -> None:
        open_ = [
            each for each in self.payouts.values() if each.payout_id not in {one.payout_id for one in self.reserved}
        ]
        for payout in open_[:1]:
            amount = self.available[payout.currency] if payout.asked is None else payout.asked
            if 0 < amount <= self.available[payout.currency]:
                self.available[payout.currency] -= amount
                self.reserved.append(Reserved(payout.currency, payout.payout_id, amount))
                status: Any = self.draw.choice(("awaiting_approval", "on_hold", "processing", "in_review"))
                self.payouts[payout.payout_id] = payout._replace(status=status)

    def end(self) -> None:
        if self.reserved:
            ended = self.reserved.pop(self.draw.randrange(len(self.reserved)))
            del self.payouts[ended.payout_id]
            self.available[ended.currency] += ended.amount * self.draw.choice((0, 1))

    def books(self, at: datetime = NOW) -> Books:
        """With what is due at `at` released, if that is later than now."""
        due = [each for each in self.held if each.until <= at] if at > NOW else []
        left = [each for each in self.held if each not in due]
        codes = {*self.available, *(each.currency for each in self.held), *(each.currency for each in self.reserved)}

        def sum_of(each: list[Any], code: str) -> int:
            return sum(one.amount for one in each if one.currency == code)

        wallets = [
            Wallet(code, self.available[code] + sum_of(due, code), sum_of(left, code), sum_of(self.reserved, code))
            for code in codes
        ]
        return Books(wallets, left, self.reserved, [*self.payouts.values()], self.is_held)

    def seller(self) -> SellerSet | None:
        schedule = Schedule(
            "EUR",
            "day",
            "06:00",
            minimum=Money(self.draw.randint(0, 300), "EUR"),
            keep=Money(self.draw.randint(0, 300), "EUR"),
        )
        draw = self.draw.choice
        return draw(
            (
                None,
                seller(state=draw(("frozen", "closed")), destination=draw((IBAN, None))),
                seller(destination=draw((IBAN, None)), destination_changed_at=NOW - draw((1, 20, 23, 30)) * HOUR),
                *[seller(schedules=draw((None, (schedule,))))] * 4,
            )
        )


def check(history: History, seen: Counter[str]) -> None:
    of, rules = (
        history.seller(),
        replace(
            RULES,
            providers=history.draw.choice(((), (provider(),), (provider(),), (provider(),))),
            countries_blocked=history.draw.choice((frozenset({"DE"}), *[frozenset()] * 5)),
        ),
    )
    history.is_held = history.draw.choice((True, *[False] * 8))
    books = history.books()
    found = payability(of, books, rules, NOW)
    assert {each.currency for each in found} == {wallet.currency for wallet in books.wallets}
    for each, wallet in zip(found, sorted(books.wallets), strict=True):
        _sums(each, wallet)
        _no_line_twice(each)
        _each_pocket(each, books.of(wallet), wallet)
        _tells_the_next_date(each, history, of, rules)
        seen.update(line.reason for line in each.lines)


def _sums(found: Payability, wallet: Wallet) -> None:
    assert (
        sum(line.amount for line in found.lines) == found.total == wallet.available + wallet.pending + wallet.reserved
    )
    assert 0 <= found.payable_now <= max(0, wallet.available)
    assert all(line.amount > 0 or line.reason == "negative_balance" for line in found.lines)


def _no_line_twice(found: Payability) -> None:
    keys = [(line.reason, line.until, line.payout_id) for line in found.lines]
    assert len(keys) == len({*keys})


def _each_pocket(found: Payability, books: Books, wallet: Wallet) -> None:
    if found.total < 0:
        assert [line.reason for line in found.lines] == ["negative_balance"]
        return
    pending = sum(line.amount for line in found.lines if line.reason in ("hold_days", "reserve"))
    assert pending == wallet.pending
    told = {line.payout_id: line.amount for line in found.lines if line.payout_id is not None}
    assert {each.payout_id: each.amount for each in books.reserved}.items() <= told.items()


def _tells_the_next_date(found: Payability, history: History, of: SellerSet | None, rules: Rules) -> None:
    """If only time goes on, more can be paid then, and not before."""

    def payable_at(at: datetime) -> int:
        (then,) = (each for each in payability(of, history.books(at), rules, at) if each.currency == found.currency)
        return then.payable_now

    if found.more_on is None:
        assert payable_at(NOW + 30 * DAY) <= found.payable_now
        return
    then = max(found.more_on, NOW + HOUR)
    assert payable_at(then) > found.payable_now
    assert then == NOW + HOUR or payable_at(then - HOUR) <= found.payable_now


def test_no_cent_is_without_a_line_and_none_has_two_whatever_has_happened() -> None:
    first = int(os.environ.get("TALLY_SEED") or random.randrange(10**9))
    print(f"TALLY_SEED={first} TALLY_HISTORIES={HISTORIES}")
    seen: Counter[str] = Counter()
    for seed in range(first, first + HISTORIES):
        check(History(seed), seen)
    assert seen.keys() == {*get_args(Reason)}, "every reason was given"
