"""Whatever PSPs do with charges, answers and notifications: never declined when charged, never charged twice, an end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle

from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumers.executor.attempt import key_expired
from consumers.executor.ladder import ASK_AGAIN_S, KEY_MARGIN_S
from consumers.executor.routing import Routing
from consumers.executor.settings import Failover, RoutingRule
from consumers.executor.state import Policy
from psp.port import Captured, Declined, NothingHappened, NotThere, Pending, Reply, Unknown
from schemas.events import OutcomeUnknown, OutcomeUnresolved, PaymentCaptured, PaymentDeclined, PaymentPending
from schemas.money import Money
from tests.unit.executor_cases import DECLARED, KEY_LIFE_S, NOW, SETTLING_S, Desk, notification, order, policy
from topics.runtime.shape.consumer import Call, Retry

AMOUNT = Money(1234, "EUR")


@dataclass
class ModelPsp:
    """It charges or not, answers or not, shows a charge late or ("blind") not at all, and forgets a key after its life."""

    declines: bool
    charges: list[datetime] = field(default_factory=list)
    key_since: datetime | None = None
    shown_from: datetime = NOW

    def charge(self, now: datetime, fate: str) -> Reply:
        if fate == "refused":
            return NothingHappened("unavailable", 3.0)
        if fate == "lost":  # it never arrived, and we cannot tell
            return Unknown("timeout")
        if self.key_since is None or (now - self.key_since).total_seconds() >= KEY_LIFE_S:
            self.key_since = now
            self.shown_from = now + timedelta(seconds=SETTLING_S if fate == "unanswered" else 0)
            if not self.declines:
                self.charges.append(now)
        return Unknown("reset") if fate == "unanswered" else self._told()

    def find(self, now: datetime, fate: str) -> Reply:
        if fate in ("lost", "unanswered", "refused"):
            return Unknown("timeout")
        if fate == "blind":  # against its own promise: the key must save us
            return NotThere()
        return NotThere() if self.key_since is None or now < self.shown_from else self._told()

    def _told(self) -> Reply:
        return Declined("insufficient_funds") if self.declines else Captured("ch_1", "visa", AMOUNT)


FATES = st.lists(st.sampled_from(["answered", "refused", "lost", "unanswered", "blind"]), min_size=1, max_size=40)
DELAYS_S = st.lists(st.sampled_from([0.0, 1.0, 600.0, 40_000.0, 86_400.0]), min_size=1, max_size=40)


@settings(max_examples=300, deadline=None)
@given(FATES, DELAYS_S, st.booleans(), st.sampled_from([60, 3600, 3 * 86_400]))
def test_no_sequence_of_replies_doubles_or_loses_a_charge(
    fates: list[str], delays_s: list[float], declines: bool, deadline_s: int
) -> None:
    desk, psp = Desk(), ModelPsp(declines)
    desk.place(order(deadline=NOW + timedelta(seconds=deadline_s)))
    turns = _run(desk, psp, fates, delays_s)
    assert turns < 6000, "it ends"
    assert len(psp.charges) <= 1, "charged twice"
    _check(desk, psp)


def _run(desk: Desk, psp: ModelPsp, fates: list[str], delays_s: list[float]) -> int:
    """As the sender: wait until it is due (or longer), refuse to send what may not be sent any more, else act."""
    act, turns = "send", 0
    while act and turns < 6000:
        fate, delay_s = fates[turns % len(fates)], delays_s[turns % len(delays_s)]
        desk.pass_s(delay_s)
        desk.lease(act)
        desk.answer(act, _acted(desk, psp, act, fate))
        turns += 1
        act = desk.next.act if isinstance(desk.next, Retry) else ""
        if isinstance(desk.next, Retry):
            desk.pass_s(desk.next.due_in_s)
    return turns


def _acted(desk: Desk, psp: ModelPsp, act: str, fate: str) -> Reply:
    if act == "ask":
        return psp.find(desk.now, fate)
    assert desk.call is not None
    if desk.now >= desk.call.deadline:
        return NothingHappened("deadline_passed")
    if desk.row.ever_unknown and key_expired(desk.row.first_sent_at, desk.now, KEY_LIFE_S, KEY_MARGIN_S):
        return NothingHappened("key_expired")
    return psp.charge(desk.now, fate)


def _check(desk: Desk, psp: ModelPsp) -> None:
    said = [type(event) for event in desk.said]
    assert said.count(OutcomeUnknown) <= 1
    assert said.count(PaymentCaptured) + said.count(PaymentDeclined) + said.count(OutcomeUnresolved) == 1
    if PaymentDeclined in said:
        assert psp.charges == [], "declined what was charged"
    if PaymentCaptured in said:
        assert len(psp.charges) == 1, "captured what was not charged"


def test_an_answering_psp_is_never_left_unresolved() -> None:
    desk, psp = Desk(), ModelPsp(declines=False)
    desk.place(order())
    _run(desk, psp, ["unanswered", "answered"], [0.0])
    assert [type(event) for event in desk.said] == [OutcomeUnknown, PaymentCaptured]
    assert len(ASK_AGAIN_S) == 7


# ── two PSPs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

PSPS = ("north", "south")
TWO: Policy = policy(
    routing=Routing(tuple(RoutingRule(psp=name, weight=weight) for name, weight in zip(PSPS, (1000, 1), strict=True))),
    psps=dict.fromkeys(PSPS, DECLARED),
    failover=Failover(after_refusals=1),
)
MOODS = ("takes", "declines", "invites", "reviews", "fails review")
CODES = {"declines": "insufficient_funds", "invites": "do_not_honor", "fails review": "do_not_honor"}


@dataclass
class TellingPsp(ModelPsp):
    """It may also decide later, and tells whenever it likes what is so by then."""

    mood: str = "takes"
    decided_at: datetime = NOW

    def charge(self, now: datetime, fate: str) -> Reply:
        fresh = self.key_since is None
        reply = super().charge(now, fate)
        if fresh and self.key_since is not None and "review" in self.mood:
            self.charges = []
            self.decided_at = now + timedelta(hours=1)
        return self._now(now) if isinstance(reply, Captured | Declined) else reply

    def find(self, now: datetime, fate: str) -> Reply:
        reply = super().find(now, fate)
        return self._now(now) if isinstance(reply, Captured | Declined) else reply

    def _now(self, now: datetime) -> Reply:
        if now < self.decided_at:
            return Pending("ch_1", self.mood.replace(" ", "_"))
        if self.mood == "reviews":
            self.charges = self.charges or [self.decided_at]
        return Declined(CODES[self.mood], "ch_1", "visa") if self.mood in CODES else Captured("ch_1", "visa", AMOUNT)

    def tell(self, now: datetime) -> str | None:
        """The status that a webhook would carry now; None where it knows of no charge."""
        if self.key_since is None:
            return None
        match self._now(now):
            case Pending():
                return "pending"
            case Captured():
                return "succeeded"
        return "declined"


SENDS = st.lists(st.sampled_from(["answered", "refused", "lost", "unanswered"]), min_size=1, max_size=8)
ASKS = st.lists(st.sampled_from(["answered", "lost", "blind"]), min_size=1, max_size=8)
PAIRS = st.just(("takes", "takes")) | st.tuples(st.sampled_from(MOODS), st.sampled_from(MOODS))
TELLS = st.just([False]) | st.lists(st.booleans(), min_size=1)


@settings(max_examples=200, deadline=None)
@given(SENDS, ASKS, DELAYS_S, PAIRS, TELLS)
@example(["unanswered", "refused", "answered"], ["blind"], [0.0], ("takes", "takes"), [False])
@example(["unanswered", "refused", "answered"], ["blind"], [0.0], ("reviews", "takes"), [False])
def test_no_two_psps_charge_one_order(
    sends: list[str], asks: list[str], delays_s: list[float], moods: tuple[str, str], tells: list[bool]
) -> None:
    """Routing, failover, webhooks before and after replies, repeated, out of order: one charge at most, one outcome.

    The examples are those that charge twice where failover forgets that a send was unknown.
    """
    desk = Desk(TWO)
    psps = {name: TellingPsp(mood in CODES, mood=mood) for name, mood in zip(PSPS, moods, strict=True)}
    desk.place(order(deadline=NOW + timedelta(seconds=7200)))
    fates = {"send": cycle(sends), "ask": cycle(asks)}
    act, turns, calls = "send", 0, set[Call]()
    while act and turns < 6000:
        assert desk.call is not None
        psp = psps[desk.call.psp]
        calls.add(desk.call)
        desk.pass_s(delays_s[turns % len(delays_s)])
        desk.lease(act)
        reply = _acted(desk, psp, act, next(fates[act]))
        if tells[turns % len(tells)]:
            _tell(desk, psps, calls)
        if desk.attempt.open:
            desk.answer(act, reply)
        turns += 1
        act = _next(desk)
    assert turns < 6000, "it ends"
    _tell(desk, psps, calls)
    _check_both(desk, psps)


def _next(desk: Desk) -> str:
    if not desk.attempt.open:
        return ""
    if isinstance(desk.next, Retry):
        desk.pass_s(desk.next.due_in_s)
        return desk.next.act
    return "send"  # a failover has made a new call


def _tell(desk: Desk, psps: dict[str, TellingPsp], calls: set[Call]) -> None:
    """Each PSP tells of the call that it had, twice over."""
    for call in sorted(calls, key=lambda call: call.id):
        status = psps[call.psp].tell(desk.now)
        if status is not None:
            code = None if status == "succeeded" else CODES.get(psps[call.psp].mood, "review")
            for _ in range(2):
                desk.told(notification(call, status, code=code))


def _check_both(desk: Desk, psps: dict[str, TellingPsp]) -> None:
    said = [type(event) for event in desk.said]
    charged = sum(len(psp.charges) for psp in psps.values())
    assert charged <= 1, "two PSPs charged one order"
    assert said.count(PaymentCaptured) + said.count(PaymentDeclined) <= 1
    assert said.count(OutcomeUnknown) <= 1
    assert said.count(PaymentPending) <= 1
    assert (PaymentCaptured in said) == (charged == 1), "what was charged is captured once somebody tells"
    assert said.count(PaymentCaptured) + said.count(PaymentDeclined) + said.count(OutcomeUnresolved) >= 1, "it ends"
