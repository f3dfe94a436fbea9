"""Pay-outs among captures, refunds, timers, repeats and crashes: whatever comes, the wallet holds what the ledger owes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consumers.wallet.decide import Heard
from schemas.events import TimerFired
from schemas.payouts import FundsReserved, PayoutEvent, PayoutExecuted, PayoutPlaced, ReservationRefused
from tests.payouts import failed, given_up, not_sent, paid, placed, refused, returned, submitted, unknown, unresolved
from tests.unit.test_ledger_decide import no_books, post
from tests.unit.test_wallet_holdings import SIDE, Episode, eur
from topics.runtime.shape.consumer import Decision

EPISODES = 100
STATES = ("kept", "free", "out", "paid", "back")


@dataclass
class Sent:
    """One pay-out as its provider sees it, who may say yes after a no."""

    payout_id: str
    minor: int
    state: str  # of STATES
    turn: int = 1


class PayoutEpisode(Episode):
    """As the episodes of holdings, with a ledger beside the wallet, and pay-outs in every legal order of events."""

    length = (20, 60)

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.books = no_books()
        self.sent: list[Sent] = []

    def steps(self) -> Sequence[Callable[[], None]]:
        return (self.captures, self.gives_back, self.waits, self.repeats, *[self.asks] * 2, *[self.goes_on] * 4)

    def hears(self, event: Heard) -> Decision:
        decision = super().hears(event)
        if isinstance(event, PayoutExecuted) or not isinstance(event, PayoutEvent | TimerFired):
            post(self.books, event, f"{self.count}")
        return decision

    def asks(self) -> None:
        dice = self.dice
        amount = None if dice.random() < 0.5 else eur(dice.randint(1, 6000))
        more = {
            name: eur(dice.randint(0, 2000)) for name in ("minimum", "keep") if amount is None and dice.random() < 0.5
        }
        event = placed(amount, payout_id=f"p-{self.count}", **more)
        minor = self._reservable(event)
        (said,) = self.hears(event).events
        self.heard.append(event)
        if not minor:
            assert isinstance(said, ReservationRefused)
            return
        assert isinstance(said, FundsReserved)
        assert said.amount == eur(minor)
        self.model.available -= minor
        self.sent.append(Sent(event.payout_id, minor, "kept"))

    def _reservable(self, event: PayoutPlaced) -> int:
        """0: nothing."""
        available = self.model.available
        if event.amount is not None:
            return event.amount.minor if event.amount.minor <= available else 0
        left = available - (event.keep.minor if event.keep else 0)
        return left if left > 0 and left >= (event.minimum.minor if event.minimum else 0) else 0

    def goes_on(self) -> None:
        if self.sent:
            sent = self.dice.choice(self.sent)
            for event in self.dice.choice((self._said, self._said, self._idle))(sent):
                self.hears(event)
                self.heard.append(event)

    def _said(self, sent: Sent) -> list[Heard]:
        """Something that moves money, by what the pay-out is."""
        about = {"payout_id": sent.payout_id, "amount": eur(sent.minor)}
        turn = sent.turn if sent.turn > 1 else None
        back = eur(self.dice.randint(0, sent.minor))
        match sent.state:
            case "kept" if self.dice.random() < 0.6:
                sent.state = "out"
                return [submitted(turn, **about)]
            case "kept":
                sent.state = "free"
                self.model.available += sent.minor
                return [refused(**about) if self.dice.random() < 0.5 else given_up(payout_id=sent.payout_id)]
            case "free" | "back":  # a late yes
                sent.state, sent.turn = "out", sent.turn + 1
                self.model.available -= sent.minor
                return [submitted(sent.turn, **about)]
            case "out" if self.dice.random() < 0.4:
                sent.state = "paid"
                return [paid(turn, **about)]
            case "out" if self.dice.random() < 0.5:
                sent.state = "back"
                self.model.available += sent.minor
                return [failed(turn, **about)]
            case _:
                first = [paid(turn, **about)] if sent.state == "out" else []
                sent.state = "back"
                self.model.available += sent.minor
                return [*first, returned(turn, returned=back, **about)]

    def _idle(self, sent: Sent) -> list[Heard]:
        """What moves nothing. A cancel counts only while the money is kept."""
        about = {"payout_id": sent.payout_id, "amount": eur(sent.minor)}
        if sent.state != "kept" and self.dice.random() < 0.5:
            return [given_up(payout_id=sent.payout_id)]
        return [self.dice.choice((unknown, unresolved, not_sent))(**about)]

    def agrees(self) -> None:
        super().agrees()
        if not self.wallets.wallets:
            return
        wallet, owed = self.wallets.wallets[SIDE], self._owed()
        assert wallet.reserved == sum(sent.minor for sent in self.sent if sent.state == "kept")
        assert owed["seller:seller-1:payable"] == wallet.available + wallet.pending + wallet.reserved
        assert owed["payouts:in-transit"] == sum(sent.minor for sent in self.sent if sent.state == "out")
        assert sum(owed.values()) == 0

    def _owed(self) -> Counter[str]:
        """Credits less debits of each account."""
        owed: Counter[str] = Counter()
        for posting in self.books.postings.values():
            for entry in posting.journal.entries:
                owed[entry.account] += entry.amount.minor if entry.direction == "credit" else -entry.amount.minor
        return owed


def test_any_sequence_with_pay_outs_leaves_in_the_wallet_what_the_ledger_owes() -> None:
    seen: Counter[str] = Counter()
    for seed in range(EPISODES):
        episode = PayoutEpisode(seed)
        try:
            episode.run()
        except AssertionError as error:
            raise AssertionError(f"episode {seed}: {error}") from error
        seen.update(sent.state for sent in episode.sent)
        seen["late"] += sum(sent.turn > 1 for sent in episode.sent)
        seen["below zero"] += episode.model.available < 0
    assert {name for name, times in seen.items() if times > 5} == {*STATES, "late", "below zero"}, "all of it happens"
