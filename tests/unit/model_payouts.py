"""A seed → pay-outs of one seller through the real deciders of payouts, wallet, ledger and executor, with a provider between them
that loses, delays, repeats, lies and sends money back, and persons who approve, cancel, freeze and thaw.

Events go by the catalogue from room to room, each key in its order; everything else is drawn. What may be released, sent and
booked is counted here once more, and the books must end as the provider's own.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from consumers.executor.payout import call_id_of
from consumers.ledger.decide import Balance, Books
from consumers.ledger.decide import decide as post
from consumers.payouts.payout import Payout
from consumers.wallet.decide import decide as move
from consumers.wallet.wallet import Wallet, Wallets
from producers.payability import Books as Explained
from producers.payability import Held, Reserved, Rules, payability
from producers.payability import Payout as Seen
from producers.payability import Wallet as Total
from psp.payout_port import Returned, TransferReply
from psp.replies import NothingHappened, Unknown
from schemas.conversions import Quote
from schemas.envelope import derive_id
from schemas.errors import Permanent, Transient
from schemas.events import AnyEvent, TimerFired
from schemas.fees import Reserve
from schemas.payouts import (
    FundsReserved,
    PayoutNotified,
    PayoutNotSent,
    PayoutReady,
    PayoutRequested,
    PayoutScreeningRequested,
    PayoutWithdrawn,
)
from schemas.sellers import DestinationChange
from tests.captures import NOW as CAPTURED_AT
from tests.money_back import refunded, share
from tests.unit.model_persons import PERSONS, is_in_doubt, name_of, nothing_of
from tests.unit.model_transfer import Provider, Transfer
from tests.unit.payout_cases import PayoutDesk
from tests.unit.payouts_room import _ANSWERS, HARBOUR, Room, cancelled, requested, seller
from tests.unit.test_wallet_holdings import held
from topics import catalog
from topics.runtime.shape.consumer import Cause, Timer

SELLER, SIDE = "s-1", ("s-1", "EUR")
MAKERS = ("shop", "dan")
CONVERTED = ("USD", "JPY", "BHD")
SCREENING_LIFE = timedelta(minutes=15)
ASKED_MAX = 6
ROOMS = ("payouts", "wallet", "ledger", "executor", "risk")
INSIDE = ("act",) * 4 + ("time",) * 2 + ("hear",) * 2 + ("fire",)
OUTSIDE = (
    ("ask",) * 3 + ("approve",) * 4 + ("evolve",) * 5 + ("tell",) * 4 + ("fund", "state", "state", "cancel", "rate")
)
OUTSIDE += ("review", "review", "rival", "debit", "again", "resolve", "resolve")
_TOPIC = {kind: topic.name for topic in catalog.TOPICS for kind in topic.says}
_HEARD = {
    topic.name: [room.name for room in catalog.CONSUMERS if topic in room.reads and room.name in ROOMS]
    for topic in catalog.TOPICS
}


class _Balances(dict[Any, Any]):
    """Accounts are opened as they are needed."""

    def __missing__(self, side: tuple[str, str]) -> Balance:
        return Balance(0, *side, ":".join(side))


class World:
    """Errors: AssertionError, saying which rule does not hold."""

    def __init__(self, seed: int) -> None:
        r = self.r = random.Random(seed)
        self.provider = Provider(r)
        self.now = CAPTURED_AT
        self.room = Room(rules={"approvals": [{"currency": "EUR", "above": "20.00", "persons": r.choice((1, 2))}]})
        self._rate()
        self.desk = PayoutDesk()
        self.wallets, self.books = Wallets({SIDE: Wallet(*SIDE)}), Books(_Balances())
        self.logs: dict[tuple[str, str], list[AnyEvent]] = defaultdict(list)
        self.read: Counter[tuple[str, str, str]] = Counter()  # room, topic, key → how far
        self.timers: set[tuple[str, Timer]] = set()
        self.flights: list[tuple[datetime, str]] = []  # sends that may still arrive, until then
        self.replies: dict[str, TransferReply] = {}  # leased calls, answered and not yet heard
        self.approved: dict[str, set[str]] = defaultdict(set)  # who has truly approved what
        self.changes: tuple[DestinationChange, ...] = ()
        self.changers: dict[str, set[str]] = {}  # who had changed the destination when a pay-out was taken up
        self.questions: Counter[str] = Counter()  # screenings asked for, by pay-out
        self.cleared: dict[tuple[str, int], set[datetime]] = defaultdict(set)  # when risk has cleared which question
        self.withdrawn: set[str] = set()  # calls of releases whose withdrawal the executor has heard
        self.state, self.revision = "active", 1
        self.asked = self.captures = self.refunds = self.causes = 0
        self.seen: Counter[str] = Counter()
        self.say(seller(destination_changed_at=self.now - timedelta(days=30)))
        for _ in range(6):
            self._fund()

    def run(self) -> None:
        for _ in range(self.r.choice((60, 120, 240))):
            self.step()
        self.settle()
        self.check_end()

    # ── events from room to room ─────────────────────────────────────────────────────────────────────────────────────

    def say(self, *events: AnyEvent) -> None:
        for event in events:
            self.seen[type(event).__name__] += 1
            self.logs[_TOPIC[type(event)], event.key].append(event)
            if isinstance(event, PayoutScreeningRequested):
                self.questions[event.payout_id] = event.screen_no

    def unread(self) -> list[tuple[str, str, str]]:
        return [
            (room, topic, key)
            for (topic, key), log in self.logs.items()
            for room in _HEARD[topic]
            if self.read[room, topic, key] < len(log)
        ]

    def deliver(self, at: tuple[str, str, str]) -> None:
        room, topic, key = at
        event = self.logs[topic, key][self.read[at]]
        try:
            self.hear(room, event)
        except Transient:
            return  # parked: tried again later, and holds its key
        self.read[at] += 1
        if self.r.random() < 0.05:
            self.hear(room, event)  # after the inbox has forgotten it

    def hear(self, room: str, event: AnyEvent) -> None:
        self.causes += 1
        cause = Cause(derive_id(f"cause {self.causes}", "tests", 0, 0), "", None, self.now, 0)
        match room:
            case "payouts":
                self.room.now = self.now
                if isinstance(event, PayoutRequested) and event.payout_id not in self.room.state.payouts:
                    self.changers[event.payout_id] = self.changed_so_far()
                said = self.room.hears(event)  # type: ignore[arg-type]
                for each in said:
                    if isinstance(each, PayoutReady):
                        self.check_release(each)
                self.say(*(each for each in said if type(each) in _TOPIC))
            case "wallet":
                self.moves(event, cause)
            case "ledger":
                for posting in post(self.books, event, cause).changes:  # type: ignore[arg-type]
                    self.books.fold(posting)  # type: ignore[arg-type]
            case "executor":
                self.executes(event)
            case "risk":
                self.screens(event)
        self.check_always()

    def changed_so_far(self) -> set[str]:
        """Who has changed the destination, as far as payouts has heard."""
        heard = self.room.state.sellers.get(SELLER)
        return {name_of(each.by) for each in (heard and heard.destination_changes) or ()}

    def moves(self, event: AnyEvent, cause: Cause) -> None:
        decision = move(self.wallets, event, cause)  # type: ignore[arg-type]
        for each in decision.events:
            assert not isinstance(each, FundsReserved) or each.available.minor >= 0, "more is reserved than there is"
        for change in decision.changes:
            self.wallets.fold(change)  # type: ignore[arg-type]
        self.timers |= {("wallet", timer) for timer in decision.timers}
        self.say(*(each for each in decision.events if type(each) in _TOPIC))

    def executes(self, event: AnyEvent) -> None:
        self.desk.now = self.now
        if isinstance(event, PayoutNotified) and event.reference not in self.desk.state.payout_calls:
            return
        before = len(self.desk.said)
        try:
            self.desk.hears(event)  # type: ignore[arg-type]
        except Permanent as error:
            self.dead_letter(error)
        self.say(*self.desk.said[before:])
        if isinstance(event, PayoutWithdrawn):
            self.withdrawn.add(call_id_of(event.payout_id, event.release_no))

    def dead_letter(self, error: Permanent) -> None:
        """Only a provider that lies brings us that far."""
        if not self.provider.lies or error.code != "contradiction":
            raise error

    def screens(self, event: AnyEvent) -> None:
        """Risk answers, or holds and answers later, or another list makes it say otherwise."""
        assert isinstance(event, PayoutScreeningRequested)
        self.answer(event.payout_id, event.screen_no, self.r.choice(("cleared",) * 6 + ("refused", "held")))

    def answer(self, payout_id: str, screen_no: int, said: str) -> None:
        told = {"rule": "none", "list_version": "1", "score": 0, "decided_at": self.now}
        told |= {"ask_again": True} if said == "anew" else {}
        if said == "cleared":
            self.cleared[payout_id, screen_no].add(self.now)
        self.say(_ANSWERS[said](payout_id=payout_id, screen_no=screen_no, **told))  # type: ignore[index,arg-type]

    # ── the caller and the provider ──────────────────────────────────────────────────────────────────────────────────

    def _act(self) -> None:
        """A call that is due is leased, sent or asked; its answer is heard at once or later."""
        due = [id_ for id_, row in self.desk.state.payout_calls.items() if row.state == "due"]
        if not due:
            return
        id_ = self.r.choice(due)
        call, row = self.desk.calls[id_], self.desk.row(id_)
        self.desk.now = self.now
        if row.act == "send" and self.now >= call.deadline:
            self.answered(id_, NothingHappened("deadline_passed"), leased=False)
            return
        assert row.act == "ask" or id_ not in self.withdrawn, "sent after its release was withdrawn"
        self.desk.lease(id_)
        reply = self.send(id_) if row.act == "send" else self.provider.found(self.release_of(id_), self.now)
        if self.r.random() < 0.3:
            self.replies[id_] = reply
        else:
            self.answered(id_, reply)

    def answered(self, id_: str, reply: TransferReply, leased: bool = True) -> None:
        before = len(self.desk.said)
        self.desk.now = self.now
        try:
            if leased:
                self.desk.answers(reply, id_)
            else:
                self.desk.acts(reply, id_)
        except Permanent as error:
            self.dead_letter(error)
        self.say(*self.desk.said[before:])
        self.check_always()

    def send(self, id_: str) -> TransferReply:
        fate = self.r.choice(("answered", "answered", "nothing", "lost", "unanswered", "late"))
        if fate in ("answered", "unanswered") or (fate == "nothing" and self.provider.lies and self.r.random() < 0.5):
            self.arrive(id_)
        if fate == "late":
            self.flights.append((self.now + timedelta(seconds=self.r.choice((1, 14))), id_))
        if fate == "answered":
            return self.provider.transfers[id_].word()
        return NothingHappened("busy") if fate == "nothing" else Unknown("timeout")

    def arrive(self, id_: str) -> None:
        self.provider.arrive(id_, self.desk.state.payouts[self.desk.calls[id_].subject], self.now)

    def _evolve(self) -> None:
        self.provider.evolve()

    def release_of(self, id_: str) -> str:
        """The release's call that a call is about: a check asks about one."""
        if self.desk.row(id_).kind == "payout":
            return id_
        return self.desk.state.payouts[self.desk.row(id_).subject].call_id

    def tell(
        self, transfer: Transfer, status: str | None = None, source: Any = "webhook", reference: str | None = None
    ) -> None:
        """A webhook: what is so, or what was so, late and repeated."""
        word = transfer.word() if status is None else replace(transfer, status=status).word()
        self.say(
            PayoutNotified(
                reference=transfer.call_id,
                provider="harbour",
                notification_id=f"n-{self.causes}",
                source=source,
                status=status or transfer.status,  # type: ignore[arg-type]
                amount=word.amount if isinstance(word, Returned) else transfer.amount,
                provider_reference=reference or transfer.id,
                code=getattr(word, "code", None),
            )
        )

    # ── one step ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self, outside: bool = True) -> None:
        if self.r.random() < 0.6 and (unread := self.unread()):
            self.deliver(self.r.choice(unread))
        else:
            getattr(self, f"_{self.r.choice(INSIDE + OUTSIDE if outside else INSIDE)}")()

    def _time(self) -> None:
        self.now += timedelta(seconds=self.r.choice((0, 1, 5, 20, 60, 60, 600, 1200)))
        for at, id_ in [each for each in self.flights if each[0] <= self.now]:
            self.flights.remove((at, id_))
            self.arrive(id_)

    def _again(self) -> None:
        """An old message comes once more, after its inbox has forgotten it."""
        old = [at for at, until in self.read.items() if at[0] in ("wallet", "ledger") and until]
        if old:
            room, topic, key = at = self.r.choice(old)
            self.hear(room, self.logs[topic, key][self.r.randrange(self.read[at])])

    def _hear(self) -> None:
        """A reply comes; or its lease runs out, and nobody ever hears it."""
        if self.replies:
            id_ = self.r.choice([*self.replies])
            reply = self.replies.pop(id_)
            self.answered(id_, Unknown("lost") if self.r.random() < 0.2 else reply)

    def _fire(self) -> None:
        for timer in [each for each in self.room.timers if each.due_at <= self.now]:
            self.room.timers.discard(timer)
            self.hear("payouts", TimerFired(kind=timer.kind, timer_key=timer.key, due_at=timer.due_at))
        for at in [each for each in self.timers if each[1].due_at <= self.now]:
            self.timers.discard(at)
            self.hear("wallet", TimerFired(kind=at[1].kind, timer_key=at[1].key, due_at=at[1].due_at))

    def _fund(self) -> None:
        self.captures += 1
        terms = {"days": self.r.choice((None, None, None, 0, 1)), "reserve": self.r.choice((None, Reserve("10.00", 2)))}
        self.say(held(f"order-{self.captures}", **terms, seller_account=SELLER))  # type: ignore[arg-type]

    def _debit(self) -> None:
        """A refund, whatever there is."""
        if self.captures:
            order = f"order-{self.r.randint(1, self.captures)}"
            self.refunds += 1
            self.say(refunded(f"r-{self.refunds}", share(self.r.randint(1, 500), 0), order, seller_account=SELLER))

    def _ask(self) -> None:
        if self.asked < ASKED_MAX:
            self.asked += 1
            amount = self.r.choice(("all", "5.00", "15.00", "24.00"))
            by = self.r.choice(("shop (key 1a2b3c4d)", "shop (key 99999999)"))
            to = self.r.choice((None, None, *CONVERTED))
            self.say(requested(f"po-{self.asked}", amount=amount, requested_by=by, payout_currency=to))

    def _rate(self) -> None:
        """Another rate, or none, from now on."""
        rates = {to: self.r.choice((None, Quote("0.9", 0), Quote("162.357", 37))) for to in CONVERTED}
        self.room.rates = {f"EUR-{to}": quote for to, quote in rates.items() if quote is not None}

    def some(self) -> Payout | None:
        return self.r.choice([*self.room.state.payouts.values()]) if self.room.state.payouts else None

    def _cancel(self) -> None:
        self.say(*(cancelled(payout.payout_id) for payout in [self.some()] if payout))

    def _approve(self) -> None:
        if payout := self.some():
            right = self.r.random() < 0.8
            self.approve(payout, self.r.choice(PERSONS), right, "rejected" if self.r.random() < 0.05 else "approved")

    def approve(self, payout: Payout, who: str, right: bool = True, decision: str = "approved") -> None:
        if right and payout.sha256 and decision == "approved":
            self.approved[payout.payout_id].add(name_of(who))
        more = {} if right else {"sha256": "0" * 64}
        self.say(self.room.approval(who, payout.payout_id, decision=decision, **more))

    def _state(self) -> None:
        """Frozen, thawed; or the destination is changed."""
        self.revision += 1
        self.state = self.r.choice(("active", "active", "active", "frozen"))
        self.set_seller(self.r.random() < 0.3)

    def set_seller(self, changes: bool = False) -> None:
        more: dict[str, Any] = {"destination_changed_at": self.now - timedelta(days=30)}
        if changes:
            who = self.r.choice(("operator dan", "shop (key 2)"))
            self.changes = (*(each for each in self.changes if each.by != who), DestinationChange(who, self.now))
            more = {"destination_changed_at": self.now, "destination_changed_by": who}
        self.say(seller(seller_revision=self.revision, state=self.state, destination_changes=self.changes, **more))

    def _tell(self) -> None:
        if self.provider.transfers:
            transfer = self.r.choice([*self.provider.transfers.values()])
            was = {"paid": ("accepted",), "returned": ("accepted", "paid"), "failed": ("accepted",)}
            self.tell(transfer, self.r.choice((None, None, *was.get(transfer.status, ()))))

    def _review(self) -> None:
        """A person, or a new list, answers a question anew; it may be an older one by now."""
        if held_ := [each for each in self.room.state.payouts.values() if each.screen_no and each.ended is None]:
            payout = self.r.choice(held_)
            number = self.r.randint(max(1, payout.screen_no - 1), payout.screen_no)
            self.answer(payout.payout_id, number, self.r.choice(("cleared", "cleared", "refused", "held", "anew")))

    def _resolve(self) -> None:
        """Two persons say of a call what they see, or see wrongly; and may name another transfer."""
        open_ = [each for each in self.desk.state.payouts.values() if each.state == "unknown" or is_in_doubt(each)]
        for payout in self.r.sample(open_, min(1, len(open_))):
            transfer = self.provider.transfers.get(payout.call_id)
            if transfer is not None and transfer.status in ("accepted", "paid") and self.r.random() < 0.5:
                self.tell(transfer, source="operator", reference=self.r.choice((transfer.id, "tr_other")))
            elif payout.state != "unknown":
                self.tell(nothing_of(payout, self.now), source="operator")

    def _rival(self) -> None:
        """Somebody else asks for the same, or for a known id with other contents."""
        if payout := self.some():
            self.say(requested(payout.payout_id, amount="9.00"))
            self.say(requested(f"rival-{payout.payout_id}", owner="rival", requested_by="rival (key 0)"))

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────

    def check_release(self, ready: PayoutReady) -> None:
        """Every gate once more, by what was truly said."""
        payout = self.room.of(ready.payout_id)
        heard = self.room.state.sellers[SELLER]
        assert heard.state == "active", "released while the seller is frozen"
        answers = self.cleared[ready.payout_id, self.questions[ready.payout_id]]
        assert payout.cleared_at in answers, "released on the answer to an older question"
        assert self.now - payout.cleared_at <= SCREENING_LIFE, "released without a fresh clearance"
        makers = {name_of(payout.requested_by), *self.changers[ready.payout_id]}
        persons = self.approved[ready.payout_id] - makers
        above = ready.amount.minor > 2000
        needed = (self.room.policy.persons(ready.amount) if above else 0) + (payout.destination_changed_by is not None)
        assert len(persons) >= needed, "released without enough persons who are none of the makers"
        ended = [
            each for each in self.desk.said if isinstance(each, PayoutNotSent) and each.payout_id == ready.payout_id
        ]
        assert len(ended) >= ready.release_no - 1 or self.provider.lies, (
            "released again before the last one surely sent nothing"
        )

    def check_always(self) -> None:
        wallet = self.wallets.wallets[SIDE]
        open_ = [each for each in self.wallets.reservations.values() if each.state == "reserved"]
        holdings = self.open_holdings()
        assert wallet.reserved == sum(each.amount for each in open_), "reserved is what is reserved for pay-outs"
        assert wallet.pending == sum(each.remaining for each in holdings), "pending is what is held"
        if self.r.random() < 0.8:
            return
        seen = [
            Seen("EUR", p.payout_id, p.status, p.asked) for p in self.room.state.payouts.values() if p.ended is None
        ]
        told = Explained(
            [Total("EUR", wallet.available, wallet.pending, wallet.reserved)],
            [Held("EUR", each.share, each.remaining, each.bucket) for each in holdings],
            [Reserved("EUR", each.payout_id, each.amount) for each in open_],
            seen,
        )
        terms = self.room.state.sellers.get(SELLER)
        [found] = payability(terms, told, Rules((HARBOUR,)), self.now)  # asserts that the lines add up
        named = [line.payout_id for line in found.lines if line.payout_id]
        assert len(named) == len({*named}), "no cent is told twice"

    def open_holdings(self) -> list[Any]:
        orders = [f"order-{number}" for number in range(1, self.captures + 1)]
        return [each for order in orders for each in self.wallets.holdings.of_order(order)]

    def balance(self, account: str, currency: str = "EUR") -> int:
        return sum(
            entry.amount.minor * (1 if entry.direction == "debit" else -1)
            for posting in self.books.postings.values()
            for entry in posting.journal.entries
            if (entry.account, entry.amount.currency) == (account, currency)
        )

    def settle(self) -> None:
        """Everything ends: persons decide what is held, frozen and waiting, and the provider says all that it knows."""
        self.provider.silence = 0.2
        self.room.rates = dict.fromkeys((f"EUR-{to}" for to in CONVERTED), Quote("1.1", 10))
        for _ in range(6):
            self.go_on()
            self.revision += 1
            self.state = "active"
            self.set_seller()
            for payout in list(self.room.state.payouts.values()):
                if payout.ended is None and payout.risk == "held":
                    self.answer(payout.payout_id, payout.screen_no, "cleared")
                for who in ("bob", "carol", "erin"):
                    if payout.ended is None and payout.sha256 and self.r.random() < 0.8:
                        self.approve(payout, who)
            for transfer in self.provider.transfers.values():
                if transfer.status == "accepted":
                    transfer.status = "paid"
            self.go_on()
            self.persons_say()
            self.go_on()
        self.now += timedelta(days=31)
        self.go_on()
        self.persons_say()
        self.go_on()

    def go_on(self) -> None:
        for _ in range(3000):
            busy = self.unread() or self.replies or self.flights
            due = [row for row in self.desk.state.payout_calls.values() if row.state == "due"]
            if not busy and not due:
                break
            self.step(outside=False)
        else:
            raise AssertionError(f"it does not end: {self.unread()[:5]}, {len(due)} calls due")
        self._fire()

    def persons_say(self) -> None:
        """What is so of each transfer, by a line of a statement; that there is none, by two persons."""
        for payout in list(self.desk.state.payouts.values()):
            transfer = self.provider.transfers.get(payout.call_id)
            if transfer is not None:
                self.tell(transfer, source="settlement_line")
            elif is_in_doubt(payout):
                self.tell(nothing_of(payout, self.now), source="operator")

    def check_end(self) -> None:
        wallet = self.wallets.wallets[SIDE]
        total = wallet.available + wallet.pending + wallet.reserved
        assert total == -self.balance(f"seller:{SELLER}:payable"), "the wallet is what we owe the seller"
        if self.provider.lies:
            return
        open_ = [each.payout_id for each in self.room.state.payouts.values() if each.ended is None]
        assert not open_, f"never ended: {[self.room.of(each).status for each in open_]}"
        assert wallet.reserved == 0, "reserved for ever"
        for currency in ("EUR", *CONVERTED):
            self.provider.check_bank(currency, self.balance)
        rates = {
            id_: each.ready.conversion.rate for id_, each in self.desk.state.payouts.items() if each.ready.conversion
        }
        for currency in CONVERTED:
            self.provider.check_exchange(currency, self.balance, rates)
        paid = {each.payout_id: each.status for each in self.provider.transfers.values() if each.status != "rejected"}
        rows = self.room.state.payouts.values()
        ended = {each.payout_id: each.ended for each in rows if each.ended in ("paid", "returned")}
        told = {id_: status for id_, status in paid.items() if status not in ("failed", "accepted")}
        assert told == ended, "told otherwise than it is"


def run(seeds: range) -> Counter[str]:
    """How often each kind of event was said."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        world = World(seed)
        try:
            world.run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        seen.update(world.seen)
    return seen
