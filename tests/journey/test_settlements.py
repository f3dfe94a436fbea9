"""A day's payments, settled by two PSPs and stated by the bank, through the door, Faust and the ledger: all come to zero.

The simulator writes the files. They come in two orders, some of them twice; each PSP owes nothing in the end, and the bank
account holds what its statement says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from consumers.executor.settings import RoutingRule
from producers.keys import create_key
from tests.journey.books import controls, lying_about, unheard, verdict
from tests.journey.desk import Desk
from tests.journey.till import Till
from tests.journey.whole import running, settings_for
from topics.runtime.shape.reading import read
from topics.settings import Settings
from topics.settlement_sources import SettlementSource

BY_CURRENCY = (
    RoutingRule(psp="northpay", currencies=frozenset({"EUR"})),
    RoutingRule(psp="southpay", currencies=frozenset({"USD"})),
)
SOURCES = (
    SettlementSource(name="northpay", psp="northpay", bank_account="main"),
    SettlementSource(name="southpay", psp="southpay", bank_account="main"),
    SettlementSource(
        name="main",
        kind="bank",
        bank_account="main",
        references=frozenset({r"northpay-account, (po_[0-9a-f]+)", r"batch ([0-9]+), southpay-account"}),
    ),
)


@pytest.fixture
def desk(make_stack: Callable[..., Settings]) -> Iterator[Desk]:
    with running(settings_for(make_stack, BY_CURRENCY, webhooks=True, sources=SOURCES)) as whole:
        yield Desk(whole)


def test_what_psps_owe_comes_to_the_bank_and_every_account_to_zero(desk: Desk) -> None:
    finance = Till(desk.whole.till.url, create_key(desk.whole.settings, "finance", ("recon:read", "recon:write")))
    sold(desk)
    files = settled(desk)
    assert {source for source, _, _ in files} == {"northpay", "southpay", "main"}
    for source, name, content in [*reversed(files), *files]:  # the statement comes first, and all of them twice
        put(finance, source, name, content)
    desk.hurry_until(lambda: unbooked(desk.whole.settings, len(files)))
    desk.hurry_until(lambda: lying_about(desk.whole.settings) or unheard(desk.whole.settings))
    accounts = balances(desk.whole.settings)
    left = {name: amount for name, amount in accounts.items() if amount and not name[0].startswith(EARNED)}
    assert left == {("bank:main", currency): amount for (_, currency), amount in paid_out(accounts).items()}
    assert verdict(desk.whole.settings) == []
    assert open_breaks(desk.whole.settings) == []


EARNED = ("seller:", "platform:", "psp:northpay:fees", "psp:southpay:fees")


def sold(desk: Desk) -> None:
    """Captures of many amounts, some refunded."""
    for number in range(12):
        for currency in ("EUR", "USD"):
            order = desk.pay(f"{10 + number}.37", fee="0.50", currency=currency)
            if number % 5 == 0:
                desk.shows(order, payment_order_status="SUCCESS")
                desk.refund_ends(desk.refund(order, "3.00", currency), "succeeded")
    desk.hurry_until(lambda: lying_about(desk.whole.settings) or unheard(desk.whole.settings))


def settled(desk: Desk) -> list[tuple[str, str, bytes]]:
    """Source, name and bytes of the day's files, the bank's statement last."""
    url = desk.whole.settings.psps[0].url.rpartition("/")[0]
    told = controls(desk.whole.settings, "settle", {})
    files = [(file, {"date": told["date"], "source": file["source"], "name": file["name"]}) for file in told["files"]]
    found = []
    for file, query in files:
        with urlopen(f"{url}/control/settlement-file?{urlencode(query)}", timeout=30) as answer:
            found.append((file["source"], file["name"], answer.read()))
    return sorted(found, key=lambda each: each[0] == "main")


def put(till: Till, source: str, name: str, content: bytes) -> None:
    status, _, answer = till.until_answered(
        "POST", f"/v1/settlement-files/{source}?{urlencode({'name': name})}", content
    )
    assert status in (200, 202), answer


def unbooked(settings: Settings, files: int) -> Sequence[str]:
    """What is not folded and booked yet."""
    states = read(settings, "reconciliation", "SELECT source, name, state, refusal FROM file_view")
    missing = [] if len(states) == files else [f"{len(states)} files of {files}"]
    waiting = [json.dumps(file) for file in states if file["state"] != "folded"]
    unsettled = "SELECT settlement, ties FROM settlement_view WHERE to_settle OR revision = 0"
    return [*missing, *waiting, *map(json.dumps, read(settings, "reconciliation", unsettled))]


def balances(settings: Settings) -> dict[tuple[str, str], int]:
    """Debits less credits of each account and currency."""
    rows = read(settings, "ledger", "SELECT account, currency, debits - credits AS amount FROM account_view")
    return {(row["account"], row["currency"]): row["amount"] for row in rows}


def paid_out(accounts: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """What sellers and the platform are owed and PSPs' fees have not taken, by currency: it must be at the bank."""
    earned: dict[tuple[str, str], int] = {}
    for (account, currency), amount in accounts.items():
        if account.startswith(EARNED):
            earned["bank:main", currency] = earned.get(("bank:main", currency), 0) - amount
    return earned


def open_breaks(settings: Settings) -> list[Any]:
    return read(settings, "reconciliation", "SELECT code, subject FROM break_view WHERE state = 'open'")


def test_two_persons_correct_a_seller_in_wallet_and_ledger(desk: Desk) -> None:
    """A file that the gate refuses is a break; on it a person draws up a journal, and another one approves it."""
    settings = desk.whole.settings
    finance = Till(desk.whole.till.url, create_key(settings, "finance", ("recon:read", "recon:write")))
    anna, bert = (
        Till(desk.whole.till.url, create_key(settings, who, ("recon:read", "recon:act"))) for who in ("anna", "bert")
    )
    order = desk.pay("20.00", fee="0.50")
    desk.shows(order, payment_order_status="SUCCESS")
    desk.hurry_until(lambda: lying_about(settings) or unheard(settings))
    [before] = read(settings, "wallet", "SELECT seller_account, available FROM wallet_view")
    put(finance, "northpay", "broken.csv", b"this is no file of any PSP\n")
    desk.hurry_until(lambda: [] if finance.get("/v1/recon/breaks?code=FILE_REFUSED")["breaks"] else ["the break"])
    [refused] = finance.get("/v1/recon/breaks?code=FILE_REFUSED")["breaks"]
    taken = {"amount": "300.00", "currency": "EUR"}
    entries = [
        {"account": f"seller:{before['seller_account']}:payable", "direction": "debit", "amount": taken},
        {"account": "platform:losses", "direction": "credit", "amount": taken},
    ]
    proposed = acted(desk, anna, refused["break_id"], "propose", {"operation_id": "p-1", "entries": entries})
    assert proposed["outcome"] == "proposed", proposed
    sha = {"sha256": proposed["detail"]["sha256"]}
    alone = acted(desk, anna, refused["break_id"], "approve", {"operation_id": "a-1"} | sha)
    assert (alone["outcome"], alone["code"]) == ("refused", "same_person")
    done = acted(desk, bert, refused["break_id"], "approve", {"operation_id": "a-2"} | sha)
    assert done["outcome"] == "done", done
    wanted = [{"seller_account": before["seller_account"], "available": before["available"] - 30_000}]
    now = "SELECT seller_account, available FROM wallet_view"
    desk.hurry_until(lambda: [] if read(settings, "wallet", now) == wanted else ["the wallet"])
    desk.hurry_until(lambda: [] if ("platform:losses", "EUR") in balances(settings) else ["the ledger"])
    assert balances(settings)["platform:losses", "EUR"] == -30_000
    desk.hurry_until(lambda: lying_about(settings) or unheard(settings))
    assert verdict(settings) == []


def acted(desk: Desk, person: Till, break_id: str, action: str, body: dict[str, object]) -> dict[str, Any]:
    """Asked for, and answered by reconciliation."""
    at = f"/v1/recon/breaks/{break_id}/work"
    asked = json.dumps({"reason": "as agreed with the seller"} | body).encode()
    status, _, answer = person.until_answered("POST", f"{at}/{action}", asked)
    assert status == 202, answer
    shown = f"{at}/{body['operation_id']}"
    desk.hurry_until(lambda: ["its answer"] if person.get(shown)["outcome"] == "waiting" else [])
    return dict(person.get(shown))
