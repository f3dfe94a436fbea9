"""What two persons say of a call → the notification that the executor hears, and what it makes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from consumers.executor.bank_file import BankFile, hear
from producers.doors.resolutions import (
    OpenCall,
    Resolution,
    Told,
    asked_about,
    check_open,
    event_of,
    shown,
    with_answers,
)
from producers.problems import Problem
from psp.replies import NotThere, Unknown
from schemas.errors import Permanent
from schemas.events import NotificationReceived
from schemas.payouts import BankFileNotified, PayoutNotified
from tests.unit.payout_cases import AMOUNT, PayoutDesk, ready

LATER = datetime(2030, 1, 1, tzinfo=UTC)


def call(kind: Any = "charge", state: str = "unresolved", **more: Any) -> OpenCall:
    given: dict[str, Any] = {"psp": "northpay", "subject": "o-1", "currency": "EUR", "scheme": "visa"}
    given |= {"psp_reference": None, "amount": AMOUNT.minor}
    return OpenCall(**{"call_id": "a" * 32, "kind": kind, "state": state, **given, **more})


def said(outcome: Any = "failed", **more: Any) -> Resolution:
    return Resolution(outcome, "row 17", "no answer", **more)


@pytest.mark.parametrize("kind", ["capture", "void", "refund"])
def test_an_operation_is_told_of_as_its_psp_would_tell_of_it(kind: str) -> None:
    done = event_of(call(kind), said("succeeded", psp_reference="np_1"), "rs-1")
    assert isinstance(done, NotificationReceived)
    assert (done.about, done.status, done.source, done.psp_reference) == (kind, "succeeded", "operator", "np_1")
    gone = event_of(call(kind), said(), "rs-1")
    assert (gone.status, gone.code, gone.amount) == ("declined", "resolved_by_operators", AMOUNT)


def test_a_charge_that_is_captured_later_is_authorised_until_a_time_that_must_be_named() -> None:
    manual = call(manual=True)
    with pytest.raises(Problem, match="expires_at"):
        event_of(manual, said("succeeded", psp_reference="np_1"), "rs-1")
    told = event_of(manual, said("succeeded", psp_reference="np_1", expires_at=LATER), "rs-1")
    assert isinstance(told, NotificationReceived)
    assert (told.status, told.expires_at) == ("authorised", LATER)
    assert event_of(manual, said(), "rs-1").status == "declined"


@pytest.mark.parametrize("state", ["calling", "pending", "captured", "declined", "paid", "ended"])
def test_what_is_known_or_still_to_come_is_nothing_to_resolve(state: str) -> None:
    for outcome in ("succeeded", "failed"):
        with pytest.raises(Problem) as refused:
            check_open(call(state=state), outcome)
        assert refused.value.code == "not_waiting"


@pytest.mark.parametrize(
    ("kind", "state", "outcome", "status", "instead_of"),
    [
        ("charge", "declined", "declare_captured", "succeeded", "declined"),
        ("charge", "captured", "declare_failed", "declined", "captured"),
        ("capture", "done", "declare_failed", "declined", "captured"),
    ],
)
def test_what_is_settled_is_set_aside_where_persons_say_so_and_nowhere_else(
    kind: str, state: str, outcome: str, status: str, instead_of: str
) -> None:
    settled = call(kind, state, psp_reference="np_1")
    check_open(settled, outcome)
    told = event_of(settled, said(outcome), "rs-1")
    assert isinstance(told, NotificationReceived)
    assert (told.status, told.instead_of, told.source) == (status, instead_of, "operator")
    assert event_of(call(kind, "unresolved"), said(), "rs-1").instead_of is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "state", "manual", "outcome"),
    [
        ("charge", "captured", False, "declare_captured"),
        ("charge", "unresolved", False, "declare_captured"),
        ("charge", "declined", True, "declare_captured"),
        ("capture", "failed", True, "declare_captured"),
        ("charge", "declined", False, "declare_failed"),
        ("charge", "reversed", False, "declare_failed"),
        ("charge", "captured", True, "declare_failed"),
        ("refund", "done", False, "declare_failed"),
    ],
)
def test_of_what_is_not_settled_so_nothing_is_declared(kind: str, state: str, manual: bool, outcome: str) -> None:
    with pytest.raises(Problem) as refused:
        check_open(call(kind, state, manual=manual), outcome)
    assert refused.value.code == "not_waiting"


@pytest.fixture
def desk() -> PayoutDesk:
    """A pay-out that was sent, and of which its provider could not say anything."""
    desk = PayoutDesk()
    desk.hears(ready())
    desk.acts(Unknown("timeout"))
    desk.pass_s(3600)
    desk.acts(NotThere())
    assert desk.payout.state == "unresolved"
    return desk


@pytest.mark.parametrize(
    ("outcome", "names"),
    [("succeeded", ["Submitted", "Paid"]), ("submitted", ["Submitted"]), ("failed", ["Failed"])],
)
def test_a_pay_out_ends_as_two_persons_say(desk: PayoutDesk, outcome: str, names: list[str]) -> None:
    reference = None if outcome == "failed" else "tr_1"
    before = len(desk.names())
    told = event_of(
        call("payout", call_id=desk.call_id, psp="harbour", subject="payout-1"),
        said(outcome, psp_reference=reference),
        "rs-1",
    )
    assert isinstance(told, PayoutNotified)
    desk.hears(told)
    if outcome == "failed":
        assert desk.names()[before:] == [], "the provider is asked first"
        desk.acts(NotThere(), desk.check_id())
    assert desk.names()[before:] == names


BANK_FILE = BankFile("a" * 32, "house-bank", "unresolved", LATER)


def test_a_bank_file_ends_as_two_persons_say_only_while_nobody_knows() -> None:
    def heard(state: Any, outcome: str) -> str | None:
        told = event_of(call("bank_file", psp="house-bank"), said(outcome), "rs-1")
        assert isinstance(told, BankFileNotified)
        after = hear(BANK_FILE.to(state, LATER), told, LATER)
        return None if after is None else after.state

    assert [heard("unresolved", each) for each in ("delivered", "not_delivered")] == ["delivered", "not_delivered"]
    for state in ("delivering", "delivered", "rejected"):
        assert [heard(state, each) for each in ("delivered", "not_delivered")] == [None, None]
    with pytest.raises(Permanent, match="the bank has it"):
        heard("closed", "delivered")


@pytest.mark.parametrize(("source", "status"), [("operator", "rejected"), ("bank_file", "not_delivered")])
def test_persons_reject_no_bank_file_and_no_report_says_that_one_never_arrived(source: Any, status: Any) -> None:
    told = event_of(call("bank_file", psp="house-bank"), said("delivered"), "rs-1")
    with pytest.raises(Permanent, match="cannot say"):
        hear(BANK_FILE, told.model_copy(update={"source": source, "status": status}), LATER)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "outcome", "more"),
    [
        ("bank_file", "failed", {}),
        ("payout", "delivered", {}),
        ("bank_file", "delivered", {"psp_reference": "x"}),
        ("bank_file", "not_delivered", {"expires_at": LATER}),
    ],
)
def test_a_bank_file_has_outcomes_of_its_own_and_nothing_else(kind: str, outcome: str, more: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        event_of(call(kind), said(outcome, **more), "rs-1")


def proposal(event: Told, state: str = "approved", **more: Any) -> dict[str, Any]:
    """As the doors keep it."""
    kind = "payout" if isinstance(event, PayoutNotified) else "charge"
    row = {"call_id": event.reference, "kind": kind, "state": state, "expires_at": LATER, "outcome": "failed"}
    return row | {"event": event.model_dump(mode="json", exclude_none=True), "event_type": type(event).__name__} | more


def test_a_proposal_about_a_pay_out_names_its_provider_and_the_transfer() -> None:
    told = event_of(call("payout", psp="harbour"), said("succeeded", psp_reference="tr_1"), "rs-1")
    one = shown(proposal(told, outcome="succeeded"), LATER)
    assert (one["psp"], one["psp_reference"], one["amount"], one["answer"]) == ("harbour", "tr_1", "120.00", None)


def test_a_failed_is_answered_as_the_executor_has_taken_it_and_no_other_proposal_is() -> None:
    failed = [shown(proposal(event_of(call(kind), said(), "rs-1")), LATER) for kind in ("payout", "charge")]
    paid = shown(
        proposal(event_of(call("payout"), said("succeeded", psp_reference="x"), "r"), outcome="succeeded"), LATER
    )
    waiting = shown(proposal(event_of(call("payout"), said(), "rs-1"), state="rejected"), LATER)
    answer = {"call_id": "a" * 32, "answer": "refused", "answer_code": "paid"}
    assert asked_about([*failed, paid, waiting]) == ["a" * 32] * 2
    [one] = with_answers([failed[0]], [answer])
    assert (one["answer"], one["answer_code"]) == ("refused", "paid")
    assert [each["answer"] for each in with_answers([failed[0], paid], [])] == [None, None]
    assert [each["answer"] for each in with_answers([waiting], [answer])] == [None]
