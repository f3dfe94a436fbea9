"""A payment that waits for a person, over payments and risk on one real database; and what the auditor says of tampering."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from consumers.payments import consumer as payments
from consumers.risk.settings import RiskLimits
from operations.auditor.engine.stores import Stores
from operations.auditor.pay_in.checkouts import compare_checkouts
from operations.auditor.pay_in.reading import read_checkouts
from operations.auditor.pay_in.unfinished import reviews
from operations.stack.servers import Servers
from operations.stack.settings import AllSettings
from schemas.events import PaymentRequested, RiskReviewed
from tests.store.books import NOON, Rooms
from topics.runtime.delivery.fire import fire
from topics.runtime.shape.reading import read
from topics.runtime.shape.store import Store

LIMITS = RiskLimits(checkout_amount_review={"EUR": Decimal("5")})


@pytest.fixture
def rooms(stored: AllSettings) -> Iterator[Rooms]:
    rooms = Rooms(stored.model_copy(update={"risk": LIMITS}))
    yield rooms
    rooms.close()


def pay(rooms: Rooms) -> str:
    """EUR 10.00, which is for review. → the checkout."""
    checkout_id = f"c-{secrets.token_hex(4)}"
    order = {"payment_order_id": f"{checkout_id}-1", "seller_account": "s", "amount": "10.00", "currency": "EUR"}
    asked = {
        "checkout_id": checkout_id,
        "owner": "shop",
        "buyer_info": {"buyer_account": "b1", "name": "Ada Lovelace", "country": "GB"},
        "payment_method": {"token": "tok_visa"},
        "payment_orders": (order | {"platform_fee": "1.00"},),
    }
    rooms.hear(PaymentRequested.model_validate(asked))
    return checkout_id


def review(rooms: Rooms, checkout_id: str, decision: str, actor: str = "anna") -> None:
    asked = {"subject": checkout_id, "screen_no": 1, "decision": decision, "actor": actor, "reason": "invoice seen"}
    rooms.hear(RiskReviewed.model_validate(asked))


def status(rooms: Rooms, checkout_id: str) -> str:
    statement = "SELECT status FROM payment_view WHERE checkout_id = %s"
    [row] = read(rooms.settings, "payments", statement, [checkout_id])
    return str(row["status"])


def holds(rooms: Rooms, checkout_id: str) -> list[dict[str, Any]]:
    return read(rooms.settings, "risk", "SELECT * FROM hold_view WHERE subject = %s", [checkout_id])


def let_time_pass(rooms: Rooms, by: timedelta) -> int:
    """→ how many timers of payments fired."""
    room = payments.build(rooms.settings)
    store = Store(rooms.settings, room.name)
    try:
        return sum(applied.messages for applied in fire(store, room, "test", NOON + by))
    finally:
        store.close()


@pytest.mark.parametrize(("decision", "ends"), [("clear", "executing"), ("refuse", "refused")])
def test_a_held_payment_waits_and_does_what_the_first_reviewer_says(rooms: Rooms, decision: str, ends: str) -> None:
    checkout_id = pay(rooms)
    assert (status(rooms, checkout_id), holds(rooms, checkout_id)[0]["decision"]) == ("in_review", None)
    review(rooms, checkout_id, decision)
    review(rooms, checkout_id, "clear" if decision == "refuse" else "refuse", "bert")
    assert status(rooms, checkout_id) == ends
    [held] = holds(rooms, checkout_id)
    assert (held["decision"], held["actor"], held["rule"]) == (decision, "anna", "amount_review")
    kept = read(rooms.settings, "risk", "SELECT actor, counts FROM review_view WHERE subject = %s", [checkout_id])
    assert sorted((one["actor"], one["counts"]) for one in kept) == [("anna", True), ("bert", False)]


def test_a_held_payment_ends_at_its_deadline_and_a_later_review_changes_nothing(rooms: Rooms) -> None:
    checkout_id = pay(rooms)
    assert let_time_pass(rooms, timedelta(minutes=1)) == 0
    assert let_time_pass(rooms, timedelta(days=30)) == 1
    assert status(rooms, checkout_id) == "failed"
    for decision in ("refuse", "clear"):
        review(rooms, checkout_id, decision)
        assert status(rooms, checkout_id) == "failed"
    assert read(rooms.settings, "payments", "SELECT code FROM parked") == []


def test_a_reviewed_payments_timer_finds_nothing_left_to_end(rooms: Rooms) -> None:
    checkout_id = pay(rooms)
    review(rooms, checkout_id, "clear")
    assert let_time_pass(rooms, timedelta(days=30)) == 1
    assert status(rooms, checkout_id) == "executing"


def test_holds_and_reviews_cannot_be_rewritten_by_the_room(rooms: Rooms) -> None:
    checkout_id = pay(rooms)
    review(rooms, checkout_id, "clear")
    store = Store(rooms.settings, "risk")
    for statement in ("UPDATE reviews SET decision = 'refuse'", "DELETE FROM reviews", "DELETE FROM holds"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), store.transaction() as conn:
            conn.execute(statement)
    store.close()


# ── the auditor ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Audited:
    """What the auditor says of these checkouts, and the way to change what it reads."""

    settings: AllSettings
    admin: str
    checkout_ids: list[str]

    def found(self) -> set[str]:
        with Stores(self.settings) as stores:
            checks = {finding.check for finding in compare_checkouts(read_checkouts(stores, self.checkout_ids))}
            return checks | ({"reviews_counted"} if reviews(stores, NOON).wrong else set())

    def tamper(self, room: str, statement: str) -> None:
        """As no login of a room may."""
        with psycopg.connect(self.admin, options=f"-c search_path={room} -c session_replication_role=replica") as conn:
            conn.execute(statement)


@pytest.fixture
def audited(rooms: Rooms, servers: Servers) -> Audited:
    """One payment that waits, one that was cleared, one that was refused."""
    waits, cleared, refused = pay(rooms), pay(rooms), pay(rooms)
    review(rooms, cleared, "clear")
    review(rooms, refused, "refuse")
    admin = make_conninfo(servers.postgres_admin, dbname=rooms.settings.database)
    audited = Audited(rooms.settings, admin, [waits, cleared, refused])
    assert audited.found() - {"requests_stored", "payments_requested"} == set()
    return audited


@pytest.mark.parametrize(
    ("room", "statement", "check"),
    [
        ("risk", "DELETE FROM reviews WHERE decision = 'clear'", "risk_decisions_followed"),
        ("risk", "UPDATE reviews SET decision = 'refuse'", "risk_decisions_followed"),
        ("risk", "UPDATE reviews SET counts = false WHERE decision = 'clear'", "reviews_counted"),
        (
            "risk",
            "DELETE FROM holds h WHERE NOT EXISTS (SELECT FROM reviews r WHERE r.subject = h.subject)",
            "reviews_counted",
        ),
        ("risk", "UPDATE screenings SET outcome = 'cleared'", "reviews_counted"),
        (
            "risk",
            "INSERT INTO reviews SELECT gen_random_uuid(), about, subject, screen_no, decision, 'eve', reason,"
            " reviewed_at - interval '1 day', false FROM reviews",
            "reviews_counted",
        ),
        ("payments", "UPDATE payments SET status = 'executing' WHERE status = 'in_review'", "risk_decisions_followed"),
        ("payments", "UPDATE payments SET status = 'in_review' WHERE status = 'executing'", "risk_decisions_followed"),
    ],
)
def test_what_was_changed_behind_a_review_is_found(audited: Audited, room: str, statement: str, check: str) -> None:
    audited.tamper(room, statement)
    assert check in audited.found()
