"""Whatever a PSP does with charges and answers: never declined when charged, never charged twice, and an end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.executor.decide import ASK_AGAIN_S
from psp.port import Captured, Declined, NothingHappened, NotThere, Reply, Unknown
from schemas.events import OutcomeUnknown, OutcomeUnresolved, PaymentCaptured, PaymentDeclined
from schemas.money import Money
from tests.unit.executor_cases import KEY_LIFE_S, NOW, SETTLING_S, Desk, order
from topics.runtime.consumer import Retry

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
    """As the caller: wait until it is due (or longer), refuse to send what may not be sent any more, else act."""
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
    from consumers.executor.caller import forbidden

    if act == "ask":
        return psp.find(desk.now, fate)
    assert desk.call is not None
    why = forbidden(desk.call.deadline, desk.row.ever_unknown, desk.row.first_sent_at, desk.now, KEY_LIFE_S)
    return NothingHappened(why) if why else psp.charge(desk.now, fate)


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
