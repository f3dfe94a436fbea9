"""Statements over HTTP: every movement of what is available, from the opening balance to the closing one."""

from __future__ import annotations

import csv
import io
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from consumers.wallet import consumer as wallet
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import check_sums
from operations.auditor.statements import TIE
from operations.stack.servers import Servers
from producers import seller_replies
from schemas.money import Money
from schemas.money_back import PaymentRefunded
from schemas.payouts import PayoutPlaced, PayoutReleased
from tests.commands import tally
from tests.contract.http.door import Door, order, wait_for
from tests.contract.http.orders import said, share
from tests.contract.http.rooms import captured, execute
from tests.contract.http.test_http_sellers import put
from topics.catalog import PAYOUTS
from topics.runtime.process.kafka_loop import RoomLoop
from topics.settings import Settings


@pytest.fixture(scope="module", autouse=True)
def rooms(http_stack: Settings) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=RoomLoop(http_stack, wallet.build(http_stack), stop).run)
    thread.start()
    yield
    stop.set()
    thread.join()


def moved(door: Door, seller: str, version: int) -> None:
    """Wait until the wallet has made so many movements."""

    def is_there() -> bool:
        with closing(psycopg.connect(door.settings.dsn("tally_wallet_read"))) as conn:
            row = conn.execute("SELECT version FROM wallet.wallet_view WHERE seller_account = %s", [seller]).fetchone()
            return row is not None and row[0] >= version

    wait_for(is_there)


@pytest.fixture(scope="module")
def seller(door: Door, rooms: None) -> str:
    """20.00 captured; p1 of 5.00; 10.00 captured and 4.00 given back; p1 given up; p2 of all there is."""
    account = f"st-{secrets.token_hex(4)}"
    assert put(door, account).status == 201
    first, second = (
        order(f"{account}-{name}", seller_account=account, amount=amount, platform_fee="0.00")
        for name, amount in (("a", "20.00"), ("b", "10.00"))
    )

    def reserve(name: str, amount: Money | None) -> PayoutPlaced:
        return PayoutPlaced(
            payout_id=f"{account}-{name}", owner="shop", seller_account=account, currency="EUR", amount=amount
        )

    steps: tuple[tuple[Any, Any], ...] = (
        (captured(first, account), None),
        (reserve("p1", Money(500, "EUR")), PAYOUTS),
        (captured(second, account), None),
        (said(second, account, PaymentRefunded, refund_id=f"{account}-r", share=share(400)), None),
        (PayoutReleased(payout_id=f"{account}-p1", seller_account=account, currency="EUR"), PAYOUTS),
        (reserve("p2", None), PAYOUTS),
    )
    for version, (event, topic) in enumerate(steps, 1):
        execute(door.settings, event, **({"topic": topic} if topic else {}))
        moved(door, account, version)
    return account


def statement(door: Door, path: str, key: str | None = None) -> dict[str, Any]:
    reply = door.get(path, key=key)
    assert reply.status == 200, reply.body
    seller_replies.Statement.model_validate_json(reply.body)
    return dict(reply.json)


def test_a_pay_outs_statement_has_what_has_changed_since_the_pay_out_before_and_ties(door: Door, seller: str) -> None:
    found = statement(door, f"/v1/payouts/{seller}-p2/statement")
    assert (found["opening"], found["payout"], found["closing"]) == ("15.00", "26.00", "0.00")
    assert [(line["kind"], line["amount"], line["available"]) for line in found["lines"]] == [
        ("captured", "10.00", "25.00"),
        ("refunded", "-4.00", "21.00"),
        ("released", "5.00", "26.00"),
    ]
    assert (found["lines"][0]["payment_order_id"], found["lines"][1]["about"]) == (f"{seller}-b", f"{seller}-r")
    assert found["lines"][2]["payout_id"] == f"{seller}-p1"
    first = statement(door, f"/v1/payouts/{seller}-p1/statement")
    assert (first["from"], first["opening"], first["payout"], first["closing"]) == (None, "0.00", "5.00", "15.00")


def test_as_csv_each_row_has_its_balance_and_the_amounts_add_up(door: Door, seller: str) -> None:
    reply = door.send("GET", f"/v1/payouts/{seller}-p2/statement", headers={"Accept": "text/csv"})
    assert reply.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert [row["kind"] for row in rows] == ["opening", "captured", "refunded", "released", "payout", "closing"]
    moved_ = sum(Decimal(row["amount"]) for row in rows if row["amount"])
    assert Decimal(rows[0]["available"]) + moved_ == Decimal(rows[-1]["available"]) == 0


def test_a_sellers_statement_of_a_period_has_the_running_balance(door: Door, seller: str) -> None:
    path = f"/v1/sellers/{seller}/statement?currency=EUR"
    whole = statement(door, path)
    assert (whole["opening"], whole["closing"], len(whole["lines"])) == ("0.00", "0.00", 6)
    at = whole["lines"][2]["at"].replace("+00:00", "Z")
    later, before = statement(door, f"{path}&from={at}"), statement(door, f"{path}&to={at}")
    assert (later["opening"], later["lines"]) == (before["closing"], whole["lines"][2:])
    assert before["lines"] == whole["lines"][:2]
    soon = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert statement(door, f"{path}&from={soon}&to={soon}")["lines"] == []


def test_a_statement_ties_over_any_period(door: Door, seller: str) -> None:
    """One movement, none, before the first, after the last; from a moment to itself."""
    path = f"/v1/sellers/{seller}/statement?currency=EUR"
    moved_at = [datetime.fromisoformat(line["at"]) for line in statement(door, path)["lines"]]
    moments = [moved_at[0] - timedelta(days=1), *moved_at, moved_at[-1] + timedelta(microseconds=1)]
    at = [moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for moment in moments]
    for place, since in enumerate(at):
        for until in at[place:]:
            found = statement(door, f"{path}&from={since}&to={until}")
            moved = sum(Decimal(line["amount"]) for line in found["lines"])
            assert Decimal(found["opening"]) + moved == Decimal(found["closing"]), (since, until)
            assert len(found["lines"]) == sum(since <= each < until for each in at[1:-1])
    for since, until in ((at[2], at[1]), ("2026-02-01", "2026-01-31")):
        reply = door.get(f"{path}&from={since}&to={until}")
        assert (reply.status, reply.json["code"], reply.json["field"]) == (400, "invalid_parameter", "from")


def test_the_command_prints_the_same(door: Door, seller: str, environment: dict[str, str]) -> None:
    shown = tally(environment, "payouts", "statement", f"{seller}-p2").stdout
    assert [word in shown for word in ("opening", "15.00", "refunded", "-4.00", "-26.00")] == [True] * 5
    told = json.loads(tally(environment, "payouts", "statement", f"{seller}-p2", "--json").stdout)
    assert told == statement(door, f"/v1/payouts/{seller}-p2/statement")
    lines = tally(environment, "payouts", "statement", f"{seller}-p2", "--csv").stdout.splitlines()
    assert len(lines) == 7
    assert tally(environment, "payouts", "statement", "st-nothing").returncode == 1


def test_other_owners_and_what_is_not_there_get_none(door: Door, seller: str) -> None:
    rival = door.key_for("rival")
    assert door.get(f"/v1/payouts/{seller}-p2/statement", key=rival).status == 404
    for path in (
        "/v1/payouts/st-nothing/statement",
        "/v1/payouts/%00/statement",
        f"/v1/sellers/{seller}/statement?currency=JPY",
    ):
        assert door.get(path).status == 404
    assert door.get(f"/v1/sellers/{seller}/statement").json["code"] == "invalid_parameter"
    assert door.get(f"/v1/sellers/{seller}/statement?currency=EUR&from=yesterday").status == 400


def test_the_auditor_finds_a_statement_that_does_not_tie(door: Door, seller: str, servers: Servers) -> None:
    def found() -> list[str]:
        with Stores(door.settings) as stores:
            rows = stores.rows("wallet", TIE.wrong)
            assert check_sums(stores, [TIE], expected=False)[0].ok == (not rows)
            return [row[1] for row in rows if row[0] == f"{seller}-p2"]

    assert found() == []
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=door.settings.database)
    with psycopg.connect(dsn, options="-c search_path=wallet", autocommit=True) as conn:
        conn.execute("ALTER TABLE movements DISABLE TRIGGER append_only")
        for change in (
            "UPDATE movements SET amount = amount + 1 WHERE subject_id = %s",
            "UPDATE movements SET amount = amount - 1 WHERE subject_id = %s",
        ):
            conn.execute(change, [f"{seller}-b"])  # both of its movements: 2 cents
            assert found() == (["2600 after 0"] if "+" in change else [])
        conn.execute("ALTER TABLE movements ENABLE TRIGGER append_only")
