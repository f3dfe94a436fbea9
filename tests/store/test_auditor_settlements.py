"""What the auditor reads of settlements: silent on what reconciliation and ledger wrote, and not on changes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest

from consumers.ledger import consumer as ledger
from operations.auditor.balances import SUMS as BALANCES
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import check_sums
from operations.auditor.settlements import SUMS, compare, read_all
from operations.stack.servers import Servers
from operations.stack.settings import AllSettings, load_settings
from reconciliation.formats import keys
from schemas.events import AnyEvent
from schemas.money import Money
from tests.captures import capture
from tests.conftest import SECRET, copy_database, drop_database
from tests.money_back import opened, share
from tests.reconciling import BANK, SOURCES, Report, Room, Row, call_id, paid_out
from tests.store.changed import Changed
from tests.store.hearing import Hearing


def settle(settings: AllSettings) -> None:
    """Two captures and a dispute settled with a line of nobody's; the pay-out at the bank, which had stated something else
    first; a third capture is not settled yet."""
    room, books = Room(settings, name="r"), Hearing(settings, ledger.build(settings), "l")
    disputed = opened(share(400, 0), Money(1500, "EUR"), "order-2").model_copy(update={"dispute_reference": "d-1"})
    facts: list[AnyEvent] = [*(capture(f"order-{n}", call_id=call_id(n)) for n in (1, 2, 3)), disputed]
    room.hear(*facts)
    books.hears(*facts)
    captures = [Row(call_id(1), 1234, 34), Row(call_id(2), 1234, 34), Row(call_id(9), 500, 5)]
    room.reads(paid_out([*captures, Row(keys.theirs("northpay", "d-1"), -400, 1500, kind="b")]))
    room.settles()
    entry = Row(keys.paid_out("main", "238", "EUR"), 995, kind="s", settlement="st-1")
    former = Row(call_id(77), 5000, kind="s", settlement="st-1")
    for version, stated, closing in (("1", former, 5100), ("2", entry, 1095)):
        claim = ("st-1", "EUR", closing)
        room.reads(Report((stated,), (claim,), source=BANK, opening=100, identity="st-1", version=version))
        room.settles()
    assert (room.dead, room.breaks()) == (0, set())
    books.hears(*room.said)
    assert books.dead == 0
    for each in (room, books):
        each.store.close()


@pytest.fixture(scope="module")
def settled(servers: Servers, template: str) -> Iterator[AllSettings]:
    """Whoever changes it puts it back."""
    name = f"tally_b{secrets.token_hex(5)}"
    copy_database(servers, template, name)
    settings = load_settings(postgres=servers.postgres, database=name, secret=SECRET, settlement_sources=SOURCES)
    settle(settings)
    yield settings
    drop_database(servers, name)


def wrong(stores: Stores, settings: AllSettings) -> dict[str, str]:
    """Check → what it says."""
    found = {each.check: str(each) for each in compare(read_all(stores, settings))}
    sums = check_sums(stores, (*SUMS, *BALANCES), expected=False)
    return found | {each.name: each.detail for each in sums if not each.ok}


def test_what_the_rooms_wrote_agrees(settled: AllSettings) -> None:
    with Stores(settled) as stores:
        assert wrong(stores, settled) == {}
        books = read_all(stores, settled)
    assert set(books.owed) == {"order-1", "order-2", "order-3"}
    statement = {side: amount for side, amount in books.booked["bank-main/st-1/EUR"].items() if amount}
    assert statement == {("bank:main", "EUR"): 995, ("bank:main:clearing", "EUR"): -995}
    assert books.booked["adyen-eu/238/EUR"] == {
        ("psp:northpay:receivable", "EUR"): -2 * 1234 + 400 + 1500,  # a dispute's fee is booked when it is opened
        ("psp:northpay:fees", "EUR"): 2 * 34 + 5,
        ("suspense", "EUR"): -500,
        ("bank:main:clearing", "EUR"): 995,
    }


TAMPERED = {
    "reconciliation.tallies SET expected = expected + 1 WHERE payment_order_id = 'order-1'": {
        "receivables_expected",
        "open_amounts_add_up",
    },
    "reconciliation.tallies SET facts = '{}' WHERE payment_order_id = 'order-1'": {
        "receivables_expected",
        "suspense_explained",
        "open_amounts_add_up",
    },
    "reconciliation.tallies SET payment_order_id = 'nobody' WHERE payment_order_id = 'order-3'": {
        "receivables_expected"
    },
    "reconciliation.tallies SET lines[1] = lines[1] + 1 WHERE payment_order_id = 'order-1'": {
        "settlement_lines_add_up"
    },
    "reconciliation.settlement_sums SET unknown = unknown + 1 WHERE kind = 'c'": {
        "suspense_explained",
        "receivables_settled",
    },
    "reconciliation.tallies SET digests = digests || digests, lines = lines || lines WHERE payment_order_id = 'order-1'": {
        "settlement_lines_once",
        "settlement_lines_add_up",
    },
    "reconciliation.tally_sums SET expected = expected + 1 WHERE psp = 'main'": {"open_amounts_add_up"},
    "reconciliation.settlement_sums SET gross = gross + 1 WHERE kind = 's'": {"settlement_lines_add_up"},
    "reconciliation.settlements SET booked = booked || '{\"suspense EUR\": -499}' WHERE settlement = '238'": {
        "settlements_booked"
    },
    "reconciliation.settlement_claims SET paid = paid + 1 WHERE opening IS NOT NULL": {"statements_booked"},
    "reconciliation.files SET chunks = 2 WHERE source = 'bank-main'": {"settlement_lines_folded"},
    **{  # one file of two accounts
        f"reconciliation.files SET file_id = 'f', chunks = chunks + (source = '{source}')::integer WHERE state = 'folded'": {
            "settlement_lines_folded"
        }
        for source in ("adyen-eu", "bank-main")
    },
    "ledger.journals SET subject_id = 'adyen-eu/239/EUR' WHERE template = 'settled'": {"settlements_booked"},
    "ledger.entries SET amount = amount + 1 WHERE journal_id ="
    " (SELECT journal_id FROM ledger.journals WHERE template = 'statement' LIMIT 1)": {
        "settlements_booked",
        "statements_booked",
        "ledger_balances",
    },
    "ledger.entries SET amount = amount + 1 WHERE journal_id ="
    " (SELECT journal_id FROM ledger.journals WHERE template = 'captured' AND subject_id = 'order-3')": {
        "receivables_expected",
        "ledger_balances",
    },
}


@pytest.mark.parametrize("change", TAMPERED)
def test_what_was_changed_since_is_found(change: str, settled: AllSettings, servers: Servers) -> None:
    admin = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=settled.database)
    with Changed(admin, f"UPDATE {change}") as stores:
        assert wrong(stores, settled).keys() == TAMPERED[change]
