"""Sellers in the stores: at the doors with their history, in payments by revision; and the auditor's look at both."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from consumers.payments.consumer import build
from operations.auditor import sellers as audited
from operations.auditor.engine.stores import Stores
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from producers.doors import sellers
from producers.doors.destinations import Sealing
from producers.doors.sellers import Changed, SellerEdit
from producers.problems import Problem
from schemas.destinations import IbanAccount, bound_to, read_destination
from schemas.events import OrderPlaced, PaymentRefused
from schemas.fees import Reserve
from schemas.money import Money
from schemas.money_back import FundsAvailable
from schemas.sellers import SellerRequest, SellerSet
from tests.conftest import SECRET
from tests.store.hearing import NOW, Hearing
from tests.unit.payment_cases import cleared, requested
from tests.unit.test_sellers import PLAN, seller, without_fee
from topics.runtime.shape.store import Store
from topics.sealing import Broken, Sealer
from topics.settings import Settings

SEALING = Sealing(load_settings(secret=SECRET))


@pytest.fixture
def payments(stored: Settings) -> Iterator[Hearing]:
    hearing = Hearing(stored, build(stored))
    yield hearing
    hearing.close()


@pytest.fixture
def doors(stored: Settings) -> Iterator[Store]:
    with closing(Store(stored, "doors")) as store:
        yield store


def put(doors: Store, account: str = "s1", owner: str = "shop", **wanted: Any) -> tuple[Changed, list[SellerSet]]:
    """→ what it came to, and what was said."""
    command = sellers.put(owner, account, SellerRequest(**wanted), "shop (key 1)", SEALING)
    with doors.transaction() as conn:
        changed, said = command.work(conn, NOW)
    return changed, [event for _, event, _ in said.events if isinstance(event, SellerSet)]


def test_a_seller_is_registered_once_changed_by_revision_and_the_same_again_changes_nothing(doors: Store) -> None:
    made, said = put(doors, name="Anna", hold_days=2)
    assert (made.before, made.seller.revision) == (None, 1)
    assert [(each.seller_revision, each.hold_days) for each in said] == [(1, 2)]
    again, said = put(doors, name="Anna", hold_days=2)
    assert (again.nothing, said) == (True, [])
    changed, said = put(doors, name="Anna", hold_days=3)
    assert (changed.seller.revision, [each.hold_days for each in said]) == (2, [3])


def test_a_name_is_kept_at_the_doors_and_is_not_said(doors: Store) -> None:
    _, (said,) = put(doors, name="Anna Beispiel", country="DE")
    assert "Anna" not in said.model_dump_json()
    _, (said,) = put(doors, name="Bea Beispiel", country="DE")
    assert said.seller_revision == 2


def test_a_seller_belongs_to_who_registered_it_first(doors: Store) -> None:
    put(doors, owner="shop")
    with pytest.raises(Problem, match="id_taken"):
        put(doors, owner="rival", hold_days=9)
    with doors.transaction() as conn, pytest.raises(Problem, match="not_found"):
        SellerEdit(None, "nobody", lambda standing: standing, "operator ann", SEALING).command().work(conn, NOW)


def test_an_operators_freeze_keeps_the_rest_and_stands_in_the_history(doors: Store) -> None:
    put(doors, hold_days=2)
    frozen = SellerEdit(
        None, "s1", lambda standing: standing.model_copy(update={"state": "frozen"}), "operator ann", SEALING, "fraud"
    )
    with doors.transaction() as conn:
        changed, _ = frozen.command().work(conn, NOW)
        rows = conn.execute(
            "SELECT revision, changed_by, reason, before, after FROM seller_history ORDER BY 1"
        ).fetchall()
    assert changed.seller.settings == {"state": "frozen", "hold_days": 2}
    assert [row[:3] for row in rows] == [(1, "shop (key 1)", None), (2, "operator ann", "fraud")]
    assert sellers.changes(*rows[1][3:]) == [{"field": "state", "before": "active", "after": "frozen"}]


def test_the_history_cannot_be_rewritten(doors: Store) -> None:
    put(doors)
    for statement in ("DELETE FROM seller_history", "UPDATE seller_history SET changed_by = ''", "DELETE FROM sellers"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), doors.transaction() as conn:
            conn.execute(statement)


# ── destinations and schedules ───────────────────────────────────────────────────────────────────────────────────────


IBAN, OTHER_IBAN = "DE89370400440532013000", "NO9386011117947"
SCHEDULE = {"currency": "EUR", "every": "week", "weekday": 1, "at": "06:00", "minimum": "25.00"}


def iban(account: str = IBAN, holder: str = "Anna Beispiel") -> IbanAccount:
    return IbanAccount(type="iban", iban=account, holder=holder)


def test_a_destination_travels_sealed_and_is_opened_again_by_whoever_has_the_secret(doors: Store) -> None:
    _, (said,) = put(doors, destination=iban())
    assert said.destination is not None
    assert said.destination.masked == "DE89 … 3000"
    assert (said.destination_changed_by, said.destination_changed_at) == ("shop (key 1)", NOW)
    sealer = Sealer(bytes.fromhex(load_settings(secret=SECRET).derive("destinations")))
    opened = sealer.open(base64.b64decode(said.destination.sealed), bound_to("s1", "iban"))
    assert read_destination(opened) == iban()
    assert not [secret for secret in (IBAN, "Beispiel") if secret in said.model_dump_json()]
    with pytest.raises(Broken):
        sealer.open(base64.b64decode(said.destination.sealed), bound_to("s2", "iban"))


def test_no_table_and_no_record_of_the_doors_holds_an_account_or_its_holder(doors: Store, servers: Servers) -> None:
    for account, holder in ((IBAN, "Anna Beispiel"), (OTHER_IBAN, "Bea Beispiel")):
        put(doors, destination=iban(account, holder))
    with doors.transaction() as conn:
        tables = [name for (name,) in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'doors'")]
        rows = [str(row) for table in tables for row in conn.execute(f"SELECT t::text FROM {table} t")]  # type: ignore[call-overload]
    assert any("DE89 … 3000" in row for row in rows)
    assert not [row for row in rows for secret in (IBAN, OTHER_IBAN, "Beispiel") if secret in row]


def test_the_same_destination_again_changes_nothing_and_another_holder_is_a_change(doors: Store) -> None:
    put(doors, destination=iban())
    assert put(doors, destination=iban("de89 3704 0044 0532 0130 00"))[0].nothing
    changed, _ = put(doors, destination=iban(holder="Bea Beispiel"))
    assert changed.before is not None
    assert changed.seller.revision == 2
    [line] = sellers.changes(changed.before.settings, changed.seller.settings)
    seen = {"type": "iban", "country": "DE", "masked": "DE89 … 3000"}
    assert line["field"] == "destination"
    assert [line[when].items() >= seen.items() for when in ("before", "after")] == [True, True]
    assert all("sealed" not in line[when] for when in ("before", "after"))


def test_whoever_changes_something_else_has_not_changed_the_destination(doors: Store) -> None:
    put(doors, destination=iban(), schedules=(SCHEDULE,))
    frozen = SellerEdit(
        None,
        "s1",
        lambda standing: standing.model_copy(update={"state": "frozen"}),
        "operator ann",
        SEALING,
        keeps_destination=True,
    )
    with doors.transaction() as conn:
        _, events = frozen.command().work(conn, NOW + timedelta(hours=1))
    [(_, said, _)] = events.events
    assert isinstance(said, SellerSet)
    assert said.destination is not None
    assert said.schedules is not None
    assert (said.state, said.destination_changed_by, said.destination_changed_at) == ("frozen", "shop (key 1)", NOW)
    assert said.schedules[0].minimum == Money(2500, "EUR")
    assert put(doors, hold_days=1, state="frozen")[1][0].destination is None, "a PUT sets all terms"


def test_everybody_who_has_changed_the_destination_is_said_each_once(doors: Store) -> None:
    def changes(by: str, hour: int, **wanted: Any) -> list[tuple[str, int]] | None:
        command = sellers.put("shop", "s1", SellerRequest(**wanted), by, SEALING)
        with doors.transaction() as conn:
            _, said = command.work(conn, NOW + timedelta(hours=hour))
        [(_, event, _)] = said.events
        assert isinstance(event, SellerSet)
        told = event.destination_changes
        return told and [(each.by, (each.at - NOW) // timedelta(hours=1)) for each in told]

    assert changes("shop (key 1)", 0, hold_days=1) is None, "no destination yet"
    assert changes("operator eve", 1, destination=iban()) == [("operator eve", 1)]
    assert changes("dan (key 2)", 2, destination=iban(OTHER_IBAN)) == [("operator eve", 1), ("dan (key 2)", 2)]
    both = [("dan (key 2)", 2), ("eve (key 3)", 3)]
    assert changes("eve (key 3)", 3, destination=iban()) == both, "her last one"
    assert changes("fay (key 4)", 4, destination=iban(), hold_days=2) == both, "the destination is as it was"
    assert changes("fay (key 4)", 5) is None
    assert changes("fay (key 4)", 6, destination=iban()) == [*both, ("fay (key 4)", 6)], (
        "what was taken away is not forgotten"
    )


# ── payments ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_terms_are_those_in_force_when_the_order_was_asked_for(payments: Hearing) -> None:
    payments.hears(seller(fee_plan=PLAN, hold_days=2, reserve=Reserve("10.00", 90)))
    payments.hears(without_fee())
    payments.hears(seller(revision=2, state="closed"))
    (order,) = [event for event in payments.hears(cleared()) if isinstance(event, OrderPlaced)]
    assert (order.fee.minor, order.hold_days, order.reserve) == (59, 2, Reserve("10.00", 90))
    assert payments.rows("SELECT seller_revision, fee FROM order_view") == [{"seller_revision": 1, "fee": 59}]
    payments.hears(requested("c2", orders=1, prefix="p"))
    assert [said.code for said in payments.all_said(PaymentRefused)] == ["seller_closed"]


def test_revisions_in_any_order_and_twice_leave_the_highest_in_force(payments: Hearing) -> None:
    payments.hears(seller(revision=2, hold_days=7))
    payments.hears(seller(revision=1, hold_days=2), seller(revision=2, hold_days=7))
    payments.hears(without_fee())
    (order,) = [event for event in payments.hears(cleared()) if isinstance(event, OrderPlaced)]
    assert (order.hold_days, payments.dead) == (7, 0)
    assert [row["revision"] for row in payments.rows("SELECT revision FROM seller_view ORDER BY 1")] == [1, 2]


def test_payments_hears_of_funds_that_become_available_and_does_nothing(payments: Hearing) -> None:
    payments.hears(requested(orders=1))
    freed = FundsAvailable(
        wallet="s1:EUR",
        movement_id="m1",
        seller_account="s1",
        amount=Money(900, "EUR"),
        until=NOW,
        available=Money(900, "EUR"),
        pending=Money.zero("EUR"),
        reserved=Money.zero("EUR"),
        wallet_version=2,
    )
    assert payments.hears(freed, cleared())  # in a batch with others
    assert (payments.hears(freed), payments.dead) == ([], 0)


# ── the auditor ──────────────────────────────────────────────────────────────────────────────────────────────────────


def wrong(settings: Settings) -> dict[str, str]:
    with Stores(settings) as stores:
        return audited.said(stores, NOW + timedelta(hours=1)).wrong


def test_the_auditor_is_silent_where_payments_has_what_the_doors_said_and_names_what_was_changed_since(
    servers: Servers, doors: Store, payments: Hearing
) -> None:
    settings = payments.settings
    for account in ("s1", "s2", "s3"):
        _, said = put(doors, account, name="Anna", hold_days=2, destination=iban(), schedules=(SCHEDULE,))
        payments.hears(*said)
    _, said = put(doors, "s4")
    assert wrong(settings).keys() == {"s4"}, "said, and not heard"
    payments.hears(*said)
    assert wrong(settings) == {}
    assert not payments.rows("SELECT 1 FROM seller_view WHERE said::text LIKE '%%destination%%'"), "orders need none"
    admin = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=settings.database)
    with psycopg.connect(admin) as conn:
        conn.execute(
            "UPDATE payments.sellers SET said = convert_to(replace(convert_from(said, 'UTF8'), '_days\":2', '_days\":3'), 'UTF8')"
            " WHERE seller_account = 's1'"
        )
        conn.execute("DELETE FROM doors.sellers WHERE seller_account = 's2'")
        conn.execute("UPDATE doors.sellers SET settings = settings || '{\"hold_days\": 0}' WHERE seller_account = 's3'")
        conn.execute("UPDATE payments.sellers SET revision = 7 WHERE seller_account = 's4'")
    assert wrong(settings).keys() == {"s1", "s2", "s3", "s4"}
