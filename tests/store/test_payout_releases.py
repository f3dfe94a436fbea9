"""Releases of pay-outs on PostgreSQL: a withdrawal against the lease of the call, and what is stuck."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from consumers.executor.consumer import build
from consumers.executor.payout import call_id_of
from consumers.executor.settings import ExecutorSettings
from operations.auditor.engine.stores import Stores
from operations.auditor.resolutions import _untaken
from producers.doors.resolutions import ANSWERS
from psp.payout_port import TransferReply
from psp.replies import NothingHappened, NotThere, Unknown
from schemas.conversions import Conversion
from schemas.events import AnyEvent
from schemas.money import Money
from tests.captures import NOW, apply_all, record
from tests.store.hearing import TOPIC_OF
from tests.store.test_wallet_holdings import in_parallel
from tests.unit.payout_cases import ACCEPTED, PAID, REJECTED, RETURNED, notified, ready, withdrawn
from topics.payout_accounts import PayoutProviderAccount
from topics.runtime.calls import rows as calls
from topics.runtime.calls.rows import CallReply, LeasedCall
from topics.runtime.shape.reading import read
from topics.runtime.shape.store import Store
from topics.settings import Settings

ROUNDS = 1000


def with_provider(stored: Settings) -> ExecutorSettings:
    harbour = PayoutProviderAccount(
        name="harbour", adapter="harbour", url="http://127.0.0.1:1", api_key="key", bank_account="main"
    )
    return ExecutorSettings(**{**stored.model_dump(), "payout_providers": (harbour,)})


@dataclass
class Room:
    """The executor's consumer on its database; its calls are answered by hand."""

    settings: ExecutorSettings

    def __post_init__(self) -> None:
        self.store, self.room = Store(self.settings, "executor"), build(self.settings)

    def hears(self, *events: AnyEvent) -> int:
        """→ dead letters."""
        messages = [record(event, f"{type(event)} {event.model_dump_json()}") for event in events]
        placed = [
            message._replace(topic=TOPIC_OF[type(event)]) for message, event in zip(messages, events, strict=True)
        ]
        return apply_all(self.store, self.room, placed).dead

    def lease(self, now: datetime = NOW) -> list[LeasedCall]:
        with self.store.batch() as conn:
            return calls.lease(conn, {"harbour": 500}, now, "me")()

    def answers(self, call: LeasedCall, reply: TransferReply) -> None:
        unknown = call.act == "send" and isinstance(reply, Unknown)
        told = CallReply(
            call.id, call.subject, call.cause_event_id, call.act, call.act_no, reply.to_json(), unknown, call.kind
        )
        with self.store.batch() as conn:
            recorded = calls.record(conn, [told], datetime.now(UTC))
        apply_all(self.store, self.room, [calls.message(stored) for stored in recorded()[0]])

    def states(self) -> dict[str, str]:
        found = read(self.settings, "executor", "SELECT payout_id, state FROM payout_view")
        return {row["payout_id"]: row["state"] for row in found}


@pytest.fixture
def room(stored: Settings) -> Iterator[Room]:
    room = Room(with_provider(stored))
    yield room
    room.store.close()


def test_a_release_is_kept_and_its_call_is_seen_by_its_payout_without_its_destination(room: Room) -> None:
    room.hears(ready())
    found = read(room.settings, "executor", "SELECT * FROM call_view")
    assert [(row["payout_id"], row["kind"], row["payment_order_id"]) for row in found] == [("payout-1", "payout", None)]
    payouts = read(room.settings, "executor", "SELECT * FROM payout_view")
    assert payouts[0]["amount_minor"] == 12_000
    assert ready().destination.sealed not in f"{found} {payouts}"


def test_a_batch_with_a_release_its_withdrawal_and_the_next_release_sends_the_next(room: Room) -> None:
    assert room.hears(ready(), withdrawn(), ready(2)) == 0
    assert [call.id for call in room.lease()] == [call_id_of("payout-1", 2)]


def test_the_row_of_the_next_release_has_what_that_one_sends_and_costs(room: Room) -> None:
    first = Conversion(Money(12_925, "USD"), "1.0825", 50, Money(11_940, "EUR"), Money(60, "EUR"))
    second = Conversion(Money(13_200, "USD"), "1.1", 0, Money(12_000, "EUR"), Money(0, "EUR"))
    columns = "SELECT amount_minor, currency, sent_minor, sent_currency, cost_minor FROM payout_view"
    room.hears(ready(conversion=first))
    assert [(*row.values(),) for row in read(room.settings, "executor", columns)] == [
        (12_000, "EUR", 12_925, "USD", 11_940)
    ]
    assert room.hears(withdrawn(), ready(2, conversion=second)) == 0
    assert [(*row.values(),) for row in read(room.settings, "executor", columns)] == [
        (12_000, "EUR", 13_200, "USD", 12_000)
    ]
    assert [call.id for call in room.lease()] == [call_id_of("payout-1", 2)]


def test_a_withdrawal_after_its_lease_was_lost_ends_nothing(room: Room) -> None:
    room.hears(ready())
    room.lease()
    with room.store.transaction() as conn:
        conn.execute("UPDATE calls SET lease_until = clock_timestamp() - interval '1 second'")
    with room.store.transaction() as conn:
        assert calls.expire(conn, Unknown("lease_expired").to_json(), NOW) == 1
    room.hears(withdrawn())
    assert room.states() == {"payout-1": "calling"}
    with room.store.transaction() as conn:
        stored = calls.take_unapplied(conn, "me")
    apply_all(room.store, room.room, [calls.message(reply) for reply in stored])
    assert room.states() == {"payout-1": "unknown"}


def test_a_withdrawal_that_meets_the_lease_a_thousand_times_is_sent_or_withdrawn_never_both(room: Room) -> None:
    """One leases the call, the other withdraws the release, at the same moment; the call's row decides."""
    payouts = [f"payout-{number}" for number in range(ROUNDS)]
    room.hears(*(ready(payout_id=payout, provider=payout) for payout in payouts))
    both, draw, leased = threading.Barrier(2), random.Random(19), set()

    def leasing(own: Store) -> None:
        for payout in payouts:
            both.wait(60)
            at = time.monotonic() + draw.uniform(0, 0.003)
            while time.monotonic() < at:
                time.sleep(0.0003)
            with own.batch() as conn:
                found = calls.lease(conn, {payout: 1}, NOW, "me")
            leased.update(call.subject for call in found())

    def withdrawing(own: Store) -> None:
        for payout in payouts:
            message = record(withdrawn(payout_id=payout), payout)._replace(topic="payouts.v1")
            both.wait(60)
            apply_all(own, room.room, [message])

    with closing(Store(room.settings, "executor")) as one, closing(Store(room.settings, "executor")) as other:
        in_parallel([lambda: leasing(one), lambda: withdrawing(other)])
    states = room.states()
    assert {payout for payout, state in states.items() if state == "calling"} == leased
    assert {payout for payout, state in states.items() if state == "not_sent"} == set(payouts) - leased
    assert 0 < len(leased) < ROUNDS, "they met"


def test_a_reply_of_nothing_to_a_withdrawn_release_ends_it(room: Room) -> None:
    room.hears(ready())
    [call] = room.lease()
    room.hears(withdrawn())
    room.answers(call, NothingHappened("unavailable"))
    assert room.states() == {"payout-1": "not_sent"}
    assert room.lease(NOW + timedelta(hours=1)) == []


def test_what_persons_say_of_a_withdrawn_release_that_was_lost_is_believed_once_the_provider_has_nothing(
    room: Room,
) -> None:
    room.hears(ready())
    [call] = room.lease()
    room.hears(withdrawn())
    room.answers(call, Unknown("timeout"))
    settle(room)
    [question] = room.lease(NOW + timedelta(seconds=10))
    room.answers(question, NotThere())
    assert (room.states(), room.lease(NOW + timedelta(minutes=10))) == ({"payout-1": "unresolved"}, [])
    assert (untaken(room), next_of(room)) == (1, "ends only by a late word of the provider, or by two persons")
    room.hears(notified(REJECTED, source="operator", provider_reference=""))
    assert answer(room) == [("asked", None)]
    assert (untaken(room), next_of(room)[:18]) == (0, "asks the provider ")
    [question] = room.lease()
    assert question.kind == "payout_check"
    room.answers(question, NotThere())
    assert (room.states(), answer(room)) == ({"payout-1": "rejected"}, [("believed", None)])


def test_what_persons_have_named_is_kept_until_the_provider_names_it(room: Room) -> None:
    room.hears(ready())
    room.hears(notified(PAID, source="operator", provider_reference="tr_other"))
    assert named(room) == [("paid", "tr_other", True)]
    room.hears(notified(RETURNED))
    assert named(room) == [("returned", "tr_1", False)]


def named(room: Room) -> list[tuple[str, str | None, bool]]:
    found = read(room.settings, "executor", "SELECT state, provider_reference, named_by_persons FROM payout_view")
    return [(row["state"], row["provider_reference"], row["named_by_persons"]) for row in found]


def settle(room: Room) -> None:
    """All that was sent has arrived, if it ever will."""
    with room.store.transaction() as conn:
        conn.execute("UPDATE calls SET sent_until = clock_timestamp() - interval '1 minute'")


def untaken(room: Room) -> int:
    """How many approved resolutions the executor has not taken, as the auditor sees it."""
    with Stores(room.settings) as stores:
        return len(_untaken(stores, {call_id_of("payout-1", 1): "rs-1"}))


def next_of(room: Room) -> str:
    assert room.room.find_stuck is not None
    with room.store.transaction() as conn:
        [found] = room.room.find_stuck(conn, room.settings.stuck, NOW + timedelta(hours=1))
    return found.next.split(":")[0]


def answer(room: Room) -> list[tuple[str, str | None]]:
    found = read(room.settings, "executor", ANSWERS, {"calls": [call_id_of("payout-1", 1)]})
    return [(row["answer"], row["answer_code"]) for row in found]


def test_a_webhook_while_the_call_is_out_decides_and_the_reply_leaves_the_question_for_later(room: Room) -> None:
    room.hears(ready())
    [call] = room.lease()
    room.hears(notified(ACCEPTED))
    room.answers(call, ACCEPTED)
    assert (room.states(), room.lease()) == ({"payout-1": "submitted"}, [])
    [question] = room.lease(NOW + timedelta(seconds=60))
    room.answers(question, PAID)
    assert room.states() == {"payout-1": "paid"}
    assert read(room.settings, "executor", "SELECT DISTINCT state FROM call_view") == [{"state": "ended"}]
