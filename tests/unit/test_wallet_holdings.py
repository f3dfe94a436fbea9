"""What is pending in a wallet and when it becomes available, against a model that keeps a plain list."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from consumers.executor.availability import held_back
from consumers.wallet.decide import Heard, decide
from consumers.wallet.holding import AVAILABLE, Holding
from consumers.wallet.wallet import Wallets
from schemas.errors import Permanent
from schemas.events import PaymentCaptured, TimerFired, WalletCredited
from schemas.fees import Reserve, ReserveShare
from schemas.money import Money
from schemas.money_back import Execution, FundsAvailable, Share, WalletDebited
from tests.captures import NOW, TOPIC, capture, event_id
from tests.money_back import capture_reversed, opened, refund_reversed, refunded, share
from tests.unit.test_wallet_decide import no_wallets
from topics.runtime.shape.consumer import Cause, Decision, Timer

DAY = timedelta(days=1)
SIDE = ("seller-1", "EUR")
EPISODES = 2000


def cause(seed: str, now: datetime = NOW) -> Cause:
    return Cause(event_id(seed), TOPIC, None, now, int(NOW.timestamp() * 1000))


def hear(wallets: Wallets, event: Heard, seed: str = "1", now: datetime = NOW) -> Decision:
    decision = decide(wallets, event, cause(seed, now))
    for change in decision.changes:
        wallets.fold(change)  # type: ignore[arg-type]
    return decision


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def held(order: str = "order-1", days: int | None = 2, reserve: Reserve | None = None, **more: Any) -> PaymentCaptured:
    """A capture at NOW as the executor says it."""
    placed = capture(order, hold_days=days, reserve=reserve, **more)
    return placed.model_copy(update=held_back(placed, placed.net, NOW))


def fired(due_at: datetime, key: str = "seller-1:EUR") -> TimerFired:
    return TimerFired(kind=AVAILABLE, timer_key=key, due_at=due_at)


def pockets(wallets: Wallets) -> tuple[int, int]:
    wallet = wallets.wallets[SIDE]
    return wallet.available, wallet.pending


# ── the executor says when ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_capture_says_when_its_money_is_available_and_which_share_later() -> None:
    said = held(days=2, reserve=Reserve("10.00", 90))
    assert said.available_on == NOW + 2 * DAY
    assert said.reserve_share == ReserveShare(eur(120), NOW + 90 * DAY)


def test_a_reserve_is_rounded_down_and_one_of_nothing_is_not_said() -> None:
    assert held(reserve=Reserve("33.33", 1)).reserve_share == ReserveShare(eur(399), NOW + DAY)  # of 12.00
    assert held(reserve=Reserve("0.01", 1)).reserve_share is None
    below_zero = capture(reserve=Reserve("10.00", 1), hold_days=1)
    assert held_back(below_zero, eur(-1), NOW).keys() == {"available_on"}


def test_without_terms_a_capture_says_nothing_new() -> None:
    assert held(days=None) == capture()
    assert held_back(capture(), eur(1200), NOW) == {}


# ── the wallet holds it back ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_capture_with_hold_days_is_pending_until_the_hour_after_they_end() -> None:
    wallets = no_wallets()
    decision = hear(wallets, held())
    (said,) = decision.events
    assert isinstance(said, WalletCredited)
    assert (said.amount, said.available, said.pending) == (eur(1200), eur(0), eur(1200))
    assert decision.timers == [Timer(AVAILABLE, "seller-1:EUR", NOW + 2 * DAY)]
    (freed,) = hear(wallets, fired(NOW + 2 * DAY), "2", NOW + 2 * DAY).events
    assert isinstance(freed, FundsAvailable)
    assert (freed.amount, freed.available, freed.pending) == (eur(1200), eur(1200), eur(0))
    assert (freed.key, freed.wallet_version) == ("seller-1:EUR", 2)


@pytest.mark.parametrize(
    ("after", "hour"),
    [(timedelta(0), 0), (timedelta(seconds=1), 1), (timedelta(minutes=59, seconds=59), 1), (timedelta(hours=1), 1)],
)
def test_a_timer_is_at_the_full_hour_that_is_not_before_the_time(after: timedelta, hour: int) -> None:
    holding = Holding("m", "net", *SIDE, "o", 1, NOW + after)
    assert holding.bucket == NOW + timedelta(hours=hour)


def test_a_capture_with_a_reserve_is_held_in_two_parts_that_end_each_in_its_time() -> None:
    wallets = no_wallets()
    decision = hear(wallets, held(days=2, reserve=Reserve("10.00", 90)))
    assert {timer.due_at for timer in decision.timers} == {NOW + 2 * DAY, NOW + 90 * DAY}
    hear(wallets, fired(NOW + 2 * DAY), "2", NOW + 2 * DAY)
    assert pockets(wallets) == (1080, 120)
    hear(wallets, fired(NOW + 90 * DAY), "3", NOW + 90 * DAY)
    assert pockets(wallets) == (1200, 0)


def test_with_a_reserve_alone_the_rest_is_available_at_once() -> None:
    wallets = no_wallets()
    hear(wallets, held(days=None, reserve=Reserve("25.00", 7)))
    assert pockets(wallets) == (900, 300)


def test_a_capture_that_is_heard_after_its_days_is_available_at_once() -> None:
    wallets = no_wallets()
    decision = hear(wallets, held(), now=NOW + 2 * DAY)
    assert (pockets(wallets), decision.timers) == ((1200, 0), [])


def test_a_seller_without_terms_has_no_holding_and_no_timer() -> None:
    decision = hear(no_wallets(), capture(), now=NOW - DAY)  # not even where its clock is behind
    assert not [change for change in decision.changes if isinstance(change, Holding)]
    assert not decision.timers


def test_a_refund_takes_its_orders_pending_money_first_that_which_is_due_first_and_the_rest_from_available() -> None:
    wallets = no_wallets()
    hear(wallets, capture("other"), "0")
    hear(wallets, held("order-1", reserve=Reserve("50.00", 90)), "1")
    hear(wallets, held("order-2"), "2")
    (said,) = hear(wallets, refunded("r-1", share(700, 0)), "3").events
    assert isinstance(said, WalletDebited)
    assert (said.available, said.pending) == (eur(1200), eur(1700))
    hear(wallets, fired(NOW + 2 * DAY), "4", NOW + 2 * DAY)
    assert pockets(wallets) == (2400, 500), "of order-1 only 5.00 of its reserve are left"
    hear(wallets, refunded("r-2", share(600, 0)), "5")
    assert pockets(wallets) == (2300, 0)


def test_a_capture_that_is_taken_back_takes_its_own_holding_before_the_orders_others() -> None:
    wallets = no_wallets()
    halves = {"gross": eur(617), "fee": eur(17), "net": eur(600), "order_gross": eur(1234)}
    hear(wallets, held(days=1, capture_id="c-1", **halves), "1")
    hear(wallets, held(days=3, capture_id="c-2", **halves), "2")
    hear(wallets, capture_reversed("c-2", share(617, 17)), "3")
    hear(wallets, fired(NOW + DAY), "4", NOW + DAY)
    assert pockets(wallets) == (600, 0)


def test_a_balance_below_zero_is_paid_off_by_what_becomes_available() -> None:
    wallets = no_wallets()
    hear(wallets, capture("paid-out"), "0")
    hear(wallets, opened(share(2000, 0), order="paid-out"), "1")
    hear(wallets, held("order-2"), "2")
    assert pockets(wallets) == (-800, 1200)
    hear(wallets, fired(NOW + 2 * DAY), "3", NOW + 2 * DAY)
    assert pockets(wallets) == (400, 0)


def test_a_timer_that_has_nothing_to_do_changes_nothing_and_an_unknown_one_is_a_dead_letter() -> None:
    wallets = no_wallets()
    hear(wallets, held())
    hear(wallets, fired(NOW + 2 * DAY), "2", NOW + 2 * DAY)
    assert hear(wallets, fired(NOW + 2 * DAY), "3", NOW + 2 * DAY) == Decision()
    with pytest.raises(Permanent, match="unknown_timer"):
        hear(wallets, TimerFired(kind="ring", timer_key="seller-1:EUR", due_at=NOW))


# ── against a model ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Line:
    """One share of a capture that is pending."""

    order: str
    movement: str
    rest: int
    on: datetime


@dataclass
class Model:
    """One wallet: an amount, and a list of what is held back."""

    available: int = 0
    lines: list[Line] = field(default_factory=list)
    captures: dict[tuple[str, str], str] = field(default_factory=dict)  # order, part → movement

    def credit(self, event: PaymentCaptured, movement: str, now: datetime) -> None:
        self.captures[event.payment_order_id, event.part] = movement
        kept = event.reserve_share.amount.minor if event.reserve_share else 0
        shares = [(event.net.minor - kept, event.available_on)] if event.hold_days is not None else []
        shares += [(kept, event.reserve_share.available_on)] if event.reserve_share else []
        for minor, on in shares:
            if minor > 0 and on > now:
                self.lines.append(Line(event.payment_order_id, movement, minor, on))
        self.available += event.net.minor - sum(line.rest for line in self.lines if line.movement == movement)

    def debit(self, order: str, minor: int, own: str = "") -> None:
        mine = [line for line in self.lines if line.order == order]
        for line in sorted(mine, key=lambda line: (line.movement != own, line.on, line.movement)):
            part = min(line.rest, minor)
            line.rest -= part
            minor -= part
        self.available -= minor

    def fire(self, until: datetime) -> None:
        self.available += sum(line.rest for line in self.lines if line.on <= until)
        self.lines = [line for line in self.lines if line.on > until]

    def pending(self) -> Counter[datetime]:
        return +Counter(
            {on: sum(line.rest for line in self.lines if line.on == on) for on in {x.on for x in self.lines}}
        )


class Episode:
    """Events, repeats, crashes, time and timers, on the decider and on the model."""

    length = (3, 14)

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.wallets, self.model = no_wallets(), Model()
        self.now, self.count = NOW, 0
        self.timers: set[Timer] = set()
        self.heard: list[Heard] = []
        self.going_back: list[tuple[str, Share, str]] = []  # refunds: id, share, order

    def run(self) -> None:
        for _ in range(self.dice.randint(*self.length)):
            self.dice.choice(self.steps())()
            self.agrees()
        self.now += 500 * DAY
        self.fires()
        self.agrees()
        assert (self.model.lines, self.timers) == ([], set()), "nothing is pending for ever"

    def steps(self) -> Sequence[Callable[[], None]]:
        return (self.captures, self.captures, self.gives_back, self.waits, self.repeats)

    def hears(self, event: Heard) -> Decision:
        """Now and then the process dies before the commit, and all is done once more."""
        self.count += 1
        if self.dice.random() < 0.2:
            decide(self.wallets, event, cause(f"{self.count}", self.now))
        decision = hear(self.wallets, event, f"{self.count}", self.now)
        self.timers |= set(decision.timers)
        return decision

    def captures(self) -> None:
        dice, part = self.dice, f"c-{self.count}"
        net, days = dice.randint(1, 5000), dice.choice((None, 0, 1, 2, 7))
        reserve = dice.choice((None, Reserve("10.00", 30), Reserve("100.00", 5), Reserve("33.33", 1)))
        placed = capture(
            dice.choice("ab"),
            capture_id=part,
            gross=eur(net),
            fee=eur(0),
            net=eur(net),
            hold_days=days,
            reserve=reserve,
        )
        event = placed.model_copy(update=held_back(placed, placed.net, self.now))
        (said,) = self.hears(event).events
        assert isinstance(said, WalletCredited)
        self.model.credit(event, said.movement_id, self.now)
        self.heard.append(event)

    def gives_back(self) -> None:
        captured = [event for event in self.heard if isinstance(event, PaymentCaptured)]
        if not captured:
            return
        of, id_ = self.dice.choice(captured), f"r-{self.count}"
        amount = share(self.dice.randint(1, 2 * of.net.minor), 0)
        order, way = of.payment_order_id, self.dice.randrange(4)
        if way == 0 and self.going_back:
            event: Execution = refund_reversed(*self.going_back.pop())
            self.model.available += event.share.net.minor
        elif way == 1 and (order, of.part) in self.model.captures:
            event = capture_reversed(of.part, share(of.net.minor, 0), order)
            self.model.debit(order, of.net.minor, self.model.captures.pop((order, of.part)))
        else:
            event = refunded(id_, amount, order)
            self.model.debit(order, amount.net.minor)
            self.going_back.append((id_, amount, order))
        self.hears(event)
        self.heard.append(event)

    def waits(self) -> None:
        self.now += timedelta(minutes=self.dice.randint(1, 4 * 24 * 60), seconds=self.dice.randint(1, 59))
        self.fires()

    def fires(self) -> None:
        """What is due, in any order; now and then once more, as by another process whose lease had ended."""
        due = sorted((timer for timer in self.timers if timer.due_at <= self.now), key=lambda timer: timer.due_at)
        self.dice.shuffle(due)
        for timer in due:
            self.timers.discard(timer)
            for _ in range(self.dice.choice((1, 1, 2))):
                self.hears(TimerFired(kind=timer.kind, timer_key=timer.key, due_at=timer.due_at))
            self.model.fire(timer.due_at)

    def repeats(self) -> None:
        """A fact under another event id."""
        if self.heard:
            assert self.hears(self.dice.choice(self.heard)) == Decision()

    def agrees(self) -> None:
        if not self.wallets.wallets:
            return
        assert pockets(self.wallets) == (self.model.available, sum(self.model.pending().values()))
        found: Counter[datetime] = Counter()
        for order in "ab":
            for holding in self.wallets.holdings.of_order(order):
                found[holding.available_on] += holding.remaining
        assert found == self.model.pending()


def test_any_sequence_of_events_repeats_crashes_and_timers_leaves_what_a_plain_list_says() -> None:
    for seed in range(EPISODES):
        try:
            Episode(seed).run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
