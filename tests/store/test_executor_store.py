"""What lies behind a charge, on PostgreSQL: locked with its attempt, read where there is something, counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from typing import Any

import pytest

from consumers.executor.consumer import build
from consumers.executor.settings import ExecutorSettings
from consumers.executor.store import lock
from operations.auditor.engine.stores import Stores
from operations.auditor.pay_in.unfinished import calls as young_calls
from psp.port import Authorised, Captured, Declined, Refunded, Reply, Reversed, Unknown
from schemas.events import AnyEvent, NotificationReceived, TimerFired
from schemas.money import Money
from schemas.money_back import CapturePlaced, DisputeNotified, RefundPlaced
from tests.captures import NOW, apply_all, record
from tests.unit.executor_cases import order
from topics.runtime.calls import rows as calls
from topics.runtime.calls.rows import CallReply, LeasedCall
from topics.runtime.shape.limits import StuckLimits
from topics.runtime.shape.reading import read
from topics.runtime.shape.store import Store
from topics.settings import PspAccount, Settings

TOPICS = {NotificationReceived: "psp-notifications.v1", DisputeNotified: "psp-notifications.v1", TimerFired: "timers"}
GROSS = Money(1234, "EUR")
YES = Captured("ch_1", "visa", GROSS)


def with_psp(stored: Settings) -> ExecutorSettings:
    psp = PspAccount(
        name="north", adapter="northpay", url="http://127.0.0.1:1", api_key="key", webhook_secrets=("s" * 16,)
    )
    return ExecutorSettings(**{**stored.model_dump(), "psps": (psp,)})


@dataclass
class Room:
    """The executor's consumer on its database; its calls are answered by hand."""

    settings: ExecutorSettings

    def __post_init__(self) -> None:
        self.store, self.room = Store(self.settings, "executor"), build(self.settings)

    def hears(self, *events: AnyEvent, seed: str = "") -> int:
        """→ dead letters."""
        messages = [record(event, f"{seed}{type(event)} {event.model_dump_json()}") for event in events]
        placed = [
            message._replace(topic=TOPICS.get(type(event), "payment-orders.v1"))
            for message, event in zip(messages, events, strict=True)
        ]
        return apply_all(self.store, self.room, placed).dead

    def answers(self, reply_to: Callable[[LeasedCall], Reply], now: datetime = NOW) -> int:
        """Every call that is due → how many."""
        with self.store.batch() as conn:
            leased = calls.lease(conn, {"north": 500}, now, "me")
        answers = [self._answer(call, reply_to(call)) for call in leased()]
        with self.store.batch() as conn:
            recorded = calls.record(conn, answers, datetime.now(UTC))
        apply_all(self.store, self.room, [calls.message(stored) for stored in recorded()[0]])
        return len(answers)

    def _answer(self, call: LeasedCall, reply: Reply) -> CallReply:
        unknown = call.act == "send" and isinstance(reply, Unknown)
        return CallReply(call.id, call.subject, call.cause_event_id, call.act, call.act_no, reply.to_json(), unknown)

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        return read(self.settings, "executor", sql, *values)

    def operations(self) -> dict[str, str]:
        found = self.rows("SELECT operation_id, state FROM operation_view ORDER BY payment_order_id, seq")
        return {row["operation_id"]: row["state"] for row in found}

    def call_id(self, kind: str) -> str:
        return str(self.rows(f"SELECT call_id FROM call_view WHERE kind = '{kind}'")[0]["call_id"])


@pytest.fixture
def room(stored: Settings) -> Iterator[Room]:
    room = Room(with_psp(stored))
    yield room
    room.store.close()


def refund(id_: str, minor: int, of: str = "order-1") -> RefundPlaced:
    return RefundPlaced(payment_order_id=of, checkout_id="checkout-1", refund_id=id_, amount=Money(minor, "EUR"))


def dispute(room: Room, status: str, minor: int = 1234) -> DisputeNotified:
    return DisputeNotified(
        reference=room.call_id("charge"),
        psp="north",
        notification_id=f"evt_{status}",
        source="webhook",
        dispute_reference="d1",
        stage=1,
        status=status,  # type: ignore[arg-type]
        amount=Money(minor, "EUR"),
        reason="fraudulent",
    )


def yes(call: LeasedCall) -> Reply:
    return YES if call.kind == "charge" else Refunded(f"re_{call.id[:4]}", Money(1000, "EUR"))


def test_an_automatic_order_keeps_no_row_behind_its_attempt(room: Room) -> None:
    room.hears(order())
    room.answers(yes)
    assert room.rows("SELECT state, operations FROM attempt_view") == [{"state": "captured", "operations": 0}]
    assert room.operations() == {}


def test_a_refund_is_kept_counted_and_done(room: Room) -> None:
    room.hears(order())
    room.answers(yes)
    room.hears(refund("r1", 1000), refund("r2", 1000))
    assert room.operations() == {"r1": "calling", "r2": "failed"}
    assert room.answers(yes) == 1
    done = room.rows(
        "SELECT state, amount_minor, fee_minor, net_minor, outcome_place FROM operation_view WHERE seq = 1"
    )
    assert done == [{"state": "done", "amount_minor": 1000, "fee_minor": 27, "net_minor": 973, "outcome_place": 0}]


def test_an_order_a_refund_and_a_dispute_in_one_batch_and_all_of_it_in_the_decision_that_captures(room: Room) -> None:
    room.hears(order(), refund("r1", 1000))
    room.hears(dispute(room, "opened"), dispute(room, "lost"))
    assert room.operations() == {"r1": "waiting"}
    room.answers(yes)
    assert room.operations() == {"r1": "failed"}
    assert room.rows("SELECT state, outcome_place FROM dispute_view") == [{"state": "lost", "outcome_place": 2}]
    assert room.rows("SELECT code FROM operation_view") == [{"code": "order_disputed"}]


def test_a_manual_order_is_captured_in_parts_by_its_authorisation(room: Room) -> None:
    expires_at = NOW + timedelta(days=7)
    room.hears(order(capture="manual"))
    room.answers(lambda call: Authorised("ch_1", "visa", GROSS, expires_at))
    assert room.rows("SELECT state, expires_at FROM attempt_view") == [
        {"state": "authorised", "expires_at": expires_at}
    ]
    assert room.rows("SELECT kind, key FROM timers") == [{"kind": "authorisation", "key": "order-1"}]
    for id_, minor in (("c1", 411), ("c2", 411), ("c3", 412)):
        room.hears(
            CapturePlaced(
                payment_order_id="order-1", checkout_id="checkout-1", capture_id=id_, amount=Money(minor, "EUR")
            )
        )
        room.answers(lambda call, minor=minor: Captured("cap", "visa", Money(minor, "EUR")))  # type: ignore[misc]
    assert room.rows("SELECT sum(fee_minor)::int AS fee, count(*)::int AS n FROM operation_view") == [
        {"fee": 34, "n": 3}
    ]
    assert room.rows("SELECT state FROM attempt_view") == [{"state": "captured"}]


def test_a_reversed_automatic_capture_gets_a_row_by_its_check(room: Room) -> None:
    room.hears(order())
    room.answers(yes)
    room.hears(told_of(room, "reversed"))
    assert room.rows("SELECT kind, act, state FROM call_view WHERE kind = 'check'") == [
        {"kind": "check", "act": "ask", "state": "due"}
    ]
    room.answers(lambda call: Reversed("ch_1", GROSS))
    assert room.operations() == {"auto~order-1": "reversed"}
    assert room.rows("SELECT state FROM attempt_view") == [{"state": "captured"}]


def test_a_contradiction_is_a_dead_letter_and_leaves_no_call_open_whatever_becomes_of_the_letter(room: Room) -> None:
    room.hears(order())
    room.answers(lambda _: Declined("do_not_honor"))
    room.hears(told_of(room, "succeeded"))
    room.answers(lambda _: YES)
    assert room.rows("SELECT checking FROM operation_view") == [{"checking": "contradicted"}]
    assert room.hears(TimerFired(kind="contradiction", timer_key="order-1", due_at=NOW)) == 1
    with Stores(room.settings) as stores:
        assert young_calls(stores, NOW + timedelta(days=9)).wrong == {}


def test_a_charge_that_two_persons_called_failed_is_captured_by_its_psp_and_can_be_taken_back_later(room: Room) -> None:
    """The questions before and after its capture are calls of their own."""
    never_answered(room)
    room.hears(told_of(room, "declined", by="operator"))
    assert room.rows("SELECT kind, state, checking FROM operation_view") == [
        {"kind": "charge", "state": "unresolved", "checking": "open"}
    ]
    room.answers(lambda _: YES)
    assert room.rows("SELECT state, checking FROM operation_view") == [{"state": "done", "checking": None}]
    assert room.hears(told_of(room, "reversed")) == 0
    room.answers(lambda _: Reversed("ch_1", GROSS))
    assert room.rows("SELECT kind, state, checks FROM operation_view ORDER BY kind") == [
        {"kind": "capture", "state": "reversed", "checks": 2},
        {"kind": "charge", "state": "done", "checks": 1},
    ]
    assert room.rows("SELECT state FROM call_view WHERE state <> 'ended'") == []


def test_a_reference_of_two_persons_stands_until_the_psp_names_its_own(room: Room) -> None:
    never_answered(room)
    room.hears(told_of(room, "succeeded", by="operator", reference="ch_wrong"))
    named = "SELECT a.psp_reference, o.named_by_persons, o.checking FROM attempt_view a JOIN operation_view o USING (call_id)"
    assert room.rows(named) == [{"psp_reference": "ch_wrong", "named_by_persons": True, "checking": "confirming"}]
    room.answers(lambda _: YES)
    assert room.rows(named) == [{"psp_reference": "ch_1", "named_by_persons": False, "checking": None}]


def never_answered(room: Room) -> None:
    room.hears(order())
    for day in range(8):
        room.answers(lambda _: Unknown("timeout"), NOW + timedelta(days=day))
    assert room.rows("SELECT state FROM attempt_view") == [{"state": "unresolved"}]


def told_of(room: Room, status: str, *, by: str = "webhook", reference: str = "ch_1") -> NotificationReceived:
    told = {"source": by, "status": status, "amount": GROSS, "psp_reference": reference, "scheme": "visa"}
    about = {"reference": room.call_id("charge"), "psp": "north", "notification_id": f"evt_{status}"}
    return NotificationReceived.model_validate({**about, **told})


def test_a_dispute_that_comes_before_its_call_is_kept_with_its_type(room: Room) -> None:
    room.hears(order())
    early = dispute(room, "opened").model_copy(update={"reference": "0" * 32})
    room.hears(early)
    assert room.rows("SELECT reference, amount FROM notification_view") == [{"reference": "0" * 32, "amount": "12.34"}]


def test_a_declined_order_that_was_never_sent_takes_what_is_asked_of_it_later(room: Room) -> None:
    room.hears(order(deadline=NOW))
    assert room.hears(refund("r1", 1000)) == 0
    assert room.rows("SELECT code FROM operation_view") == [{"code": "not_captured"}]


def test_what_is_unresolved_unanswered_or_went_back_twice_is_stuck(room: Room) -> None:
    room.hears(order())
    room.answers(yes)
    room.hears(refund("r1", 1000), refund("r2", 234))
    room.hears(dispute(room, "opened", 1000))
    room.answers(yes)
    with room.store.transaction() as conn:
        conn.execute("UPDATE operations SET checking = 'unanswered' WHERE operation_id = 'r1'")
    found = {(one.state, one.id): one for one in stuck_now(room)}
    assert found["double_return", "order-1"].amounts == (Money(766, "EUR"),)
    assert "refund r1" in found["check", "order-1"].next


def test_a_refund_that_waits_behind_an_unresolved_charge_is_stuck_beside_it(room: Room) -> None:
    room.hears(order())
    room.hears(refund("r1", 1000))
    with room.store.transaction() as conn:
        conn.execute("UPDATE attempts SET state = 'unresolved', outcome_event_id = cause_event_id")
        conn.execute("UPDATE calls SET state = 'ended', outcome = 'unresolved'")
    assert {(one.state, one.amounts) for one in stuck_now(room)} == {
        ("unresolved", (GROSS,)),
        ("waiting", (Money(1000, "EUR"),)),
    }


def test_what_is_unresolved_and_what_waits_behind_an_unknown_one_is_stuck(room: Room) -> None:
    room.hears(order())
    room.answers(yes)
    room.hears(refund("r1", 300), refund("r2", 200))
    room.answers(lambda _: Unknown("timeout"))
    found = {one.state: one for one in stuck_now(room)}
    assert found.keys() == {"unknown", "waiting"}
    assert [*map(str, found["unknown"].amounts), *map(str, found["waiting"].amounts)] == ["3.00 EUR", "2.00 EUR"]
    assert "refund r1: asks" in found["unknown"].next
    assert "refund r2: waits for what is before it" in found["waiting"].next
    now = NOW
    while room.operations()["r1"] == "unknown":
        now += timedelta(hours=13)
        assert room.answers(lambda call: Unknown("timeout") if call.act == "ask" else yes(call), now)
    left = {one.next.partition(":")[0]: one.state for one in stuck_now(room)}
    assert left["refund r1"] == "unresolved"


def stuck_now(room: Room) -> Sequence[Any]:
    assert room.room.find_stuck is not None
    with room.store.transaction() as conn:
        return room.room.find_stuck(conn, StuckLimits(), NOW + timedelta(days=1))


# ── two processes ────────────────────────────────────────────────────────────────────────────────────────────────────

ORDERS = [f"order-{n}" for n in range(40)]


def _refund_in_a_process(settings: dict[str, Any], name: str) -> None:
    room = Room(ExecutorSettings(**settings))
    for id_ in ORDERS:
        room.hears(refund(f"{name}-{id_}", 1000, id_), seed=name)
    while room.answers(yes):
        pass
    room.store.close()


def test_two_processes_that_refund_the_same_orders_give_back_no_more_than_there_is(room: Room) -> None:
    room.hears(*[order(id_) for id_ in ORDERS])
    room.answers(yes)
    settings = room.settings.model_dump()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        list(processes.map(_refund_in_a_process, [settings] * 2, ["a", "b"]))
    while room.answers(yes):
        pass
    done = room.rows("SELECT payment_order_id FROM operation_view WHERE state = 'done' ORDER BY 1")
    assert [row["payment_order_id"] for row in done] == sorted(ORDERS)
    failed = room.rows("SELECT DISTINCT code FROM operation_view WHERE state = 'failed'")
    assert failed == [{"code": "exceeds_refundable"}]
    sent = room.rows("SELECT count(*)::int AS sent FROM call_view WHERE kind = 'refund'")
    assert sent == [{"sent": len(ORDERS)}]


# ── what the hot path pays ───────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_behind_attempts_is_read_where_no_attempt_has_anything(room: Room) -> None:
    room.hears(*[order(id_) for id_ in ORDERS])
    with room.store.transaction() as conn:
        asked: list[str] = []
        execute = conn.execute
        conn.execute = lambda sql, *rest, **named: asked.append(str(sql)) or execute(sql, *rest, **named)  # type: ignore
        lock(conn, [refund("r1", 1, ORDERS[0])], NOW)
    assert len(asked) == 1
    assert "FROM attempts" in asked[0]
