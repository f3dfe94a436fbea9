"""`tally wallet` and `tally ledger`: what an operator reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from consumers.ledger.consumer import build as build_ledger
from consumers.wallet.consumer import build as build_wallet
from operations.cli.main import build
from operations.stack.servers import Servers
from schemas.money import Money
from tests.captures import apply_all, capture, record
from tests.conftest import SECRET
from tests.payouts import given_up, placed
from tests.store.hearing import Hearing
from topics.runtime.shape.store import Store
from topics.settings import Settings

Tally = Callable[..., Result]


@pytest.fixture
def tally(stored: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Tally:
    """The command line, after three captures of which one is in yen."""
    own = {"HOME": tmp_path, "POSTGRES": stored.postgres, "DATABASE": stored.database, "SECRET": SECRET}
    for name, value in own.items():
        monkeypatch.setenv(f"TALLY_{name}", str(value))
    yen = Money(500, "JPY")
    events = [capture("order-1"), capture("order-2"), capture("order-3", gross=yen, fee=Money(0, "JPY"), net=yen)]
    for room in (build_wallet(stored), build_ledger(stored)):
        store = Store(stored, room.name)
        apply_all(store, room, [record(event, event.payment_order_id) for event in events])
        store.close()
    return lambda *words: CliRunner().invoke(build(["wallet", "ledger"]), words)


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_sellers_wallet_is_shown_by_currency_in_major_units(tally: Tally) -> None:
    assert answer(tally("wallet", "seller-1", "--json")) == {
        "seller_account": "seller-1",
        "wallets": [
            {"currency": "EUR", "available": "24.00", "pending": "0.00", "reserved": "0.00", "version": 2},
            {"currency": "JPY", "available": "500", "pending": "0", "reserved": "0", "version": 1},
        ],
    }
    assert "24.00" in tally("wallet", "seller-1").stdout


def test_what_is_reserved_in_a_wallet_is_shown_by_pay_out(tally: Tally, stored: Settings) -> None:
    assert "nothing is reserved" in tally("wallet", "seller-1", "--reserved").stderr
    with closing(Hearing(stored, build_wallet(stored))) as wallet:
        wallet.hears(placed(Money(700, "EUR"), payout_id="b"), placed(Money(500, "EUR"), payout_id="a"))
        wallet.hears(placed(None, payout_id="c"), given_up(payout_id="c"), placed(payout_id="too-much"))
    told = answer(tally("wallet", "seller-1", "--reserved", "--json"))
    assert told["wallets"][0]["reserved"] == "12.00"
    assert [(each["payout_id"], each["amount"]) for each in told["reserved"]] == [("a", "5.00"), ("b", "7.00")]
    shown = tally("wallet", "seller-1", "--reserved", "--pending")
    assert "7.00" in shown.stdout
    assert "nothing is pending" in shown.stderr


def test_an_unknown_seller_is_said_so(tally: Tally) -> None:
    result = tally("wallet", "nobody")
    assert result.exit_code == 1
    assert "nobody has no wallet yet" in result.stderr


def test_balances_are_debits_less_credits(tally: Tally) -> None:
    rows = answer(tally("ledger", "balances", "seller:", "--json"))
    assert [(row["account"], row["currency"], row["balance"]) for row in rows] == [
        ("seller:seller-1:payable", "EUR", "-24.00"),
        ("seller:seller-1:payable", "JPY", "-500"),
    ]


def test_entries_are_found_by_order_and_by_account(tally: Tally) -> None:
    by_order = answer(tally("ledger", "entries", "order-1", "--json"))
    assert [(row["direction"], row["amount"]) for row in by_order] == [
        ("debit", "12.34"),
        ("credit", "12.00"),
        ("credit", "0.34"),
    ]
    by_account = answer(tally("ledger", "entries", "platform:fees", "--json"))
    assert {row["payment_order_id"] for row in by_account} == {"order-1", "order-2"}


@pytest.mark.parametrize("words", [("ledger", "balances"), ("ledger", "entries", "order-1")])
@pytest.mark.parametrize("json_too", [(), ("--json",)])
def test_a_list_says_when_it_is_cut(tally: Tally, words: tuple[str, ...], json_too: tuple[str, ...]) -> None:
    cut = tally(*words, "--limit", "2", *json_too)
    assert "only 2 are shown, there are more: --limit" in cut.stderr
    if json_too:
        assert len(answer(cut)) == 2
    whole = tally(*words, "--limit", str(len(answer(tally(*words, "--json")))), *json_too)
    assert "only" not in whole.stderr


def test_entries_of_nothing_are_said_to_be_none(tally: Tally) -> None:
    result = tally("ledger", "entries", "nope", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, [])
    assert "nope has no entries" in result.stderr


def test_the_trial_balance_has_one_line_for_each_currency(tally: Tally) -> None:
    rows = answer(tally("ledger", "trial-balance", "--json"))
    assert [(row["currency"], row["debits"], row["credits"], row["balanced"]) for row in rows] == [
        ("EUR", "24.68", "24.68", True),
        ("JPY", "500", "500", True),
    ]


def test_a_balance_that_somebody_changed_is_found(tally: Tally, stored: Settings, servers: Servers) -> None:
    assert answer(tally("ledger", "rebuild-check", "--json")) == []
    admin_dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=stored.database)
    with psycopg.connect(admin_dsn) as admin:
        admin.execute("UPDATE ledger.balances SET credits = credits + 1 WHERE currency = 'JPY' AND credits > 0")
    result = tally("ledger", "rebuild-check", "--json")
    assert result.exit_code == 1
    (row,) = json.loads(result.stdout)
    assert (row["account"], row["credits"], row["entry_credits"]) == ("seller:seller-1:payable", "501", "500")
    assert tally("ledger", "trial-balance").exit_code == 1
