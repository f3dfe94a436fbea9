"""What the auditor reads of reservations and of pay-outs in the books: silent on what the rooms wrote, and not on changes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from consumers.executor import consumer as executor
from consumers.ledger import consumer as ledger
from consumers.payouts import consumer as payouts
from consumers.wallet import consumer as wallet
from operations.auditor import holdings, settlements
from operations.auditor.audit import PAGES
from operations.auditor.balances import SUMS as BALANCES
from operations.auditor.balances import check_kinds
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import check_sums
from operations.auditor.money_back.reading import read_all as read_money_back
from operations.auditor.pay_in import orders
from operations.auditor.pay_in import published as pay_in_said
from operations.auditor.pay_in import reading as pay_in
from operations.auditor.reservations.compare import compare_payouts
from operations.auditor.reservations.page import SAID, SUMS
from operations.auditor.reservations.reading import read_all
from operations.stack.servers import Servers
from operations.stack.settings import AllSettings, load_settings
from psp.payout_port import Paid, TransferState
from reconciliation import consumer as reconciliation
from schemas.envelope import header
from schemas.money import Money
from schemas.payouts import PayoutCallEnded, PayoutNotified, PayoutRiskCleared
from tests.captures import capture
from tests.conftest import SECRET, copy_database, drop_database
from tests.store.books import NOON, Rooms
from tests.store.changed import Changed
from tests.unit.payouts_room import HARBOUR, NOBODY, cancelled, requested, seller
from topics.exchange_rates import FxRate
from topics.payout_rules import PayoutRules
from topics.runtime.shape.reading import read
from topics.settlement_sources import SettlementSource

# 0.50 of each 100.00 is the platform's.
RATES = tuple(
    FxRate(currency="EUR", payout_currency=to, rate=rate, spread_bps=50)
    for to, rate in (("USD", "1.0825"), ("JPY", "162.35"), ("BHD", "0.40815"))
)
# EUR 100.00 each: what is sent, and what the provider says of it. Of what comes back a bank keeps 100 minor units.
CONVERTED: dict[str, tuple[str, int, *tuple[str, ...]]] = {
    "usd-sent": ("USD", 10_770, "accepted"),
    "usd-back": ("USD", 10_770, "paid", "returned"),
    "usd-again": ("USD", 10_770, "paid", "returned", "paid"),
    "jpy-paid": ("JPY", 16_153, "accepted", "paid"),
    "jpy-failed": ("JPY", 16_153, "accepted", "failed"),
    "bhd-paid": ("BHD", 40_610, "paid"),
    "bhd-no": ("BHD", 40_610, "rejected"),
}
_numbers = iter(range(1, 10_000))


class PayoutRooms(Rooms):
    """The rooms of pay-outs. Nobody calls a provider, and risk clears at once."""

    def __init__(self, settings: AllSettings) -> None:
        rules = PayoutRules.model_validate(NOBODY)
        sources = (SettlementSource(name="bank", kind="bank", bank_account=HARBOUR.bank_account),)
        providers = {"payout_providers": (HARBOUR,), "payouts": rules, "settlement_sources": sources, "fx": RATES}
        super().__init__(settings.model_copy(update=providers), (payouts, executor, wallet, ledger, reconciliation))
        self.hear(seller(destination_changed_at=NOON - timedelta(days=30)))

    def ask(self, payout_id: str, amount: str = "100.00", **changes: object) -> None:
        """Requested, cleared, and released if there is enough money."""
        self.hear(requested(payout_id, amount=amount, **changes))
        cleared = {"screen_no": 1, "rule": "none", "list_version": "1", "score": 0, "decided_at": NOON}
        self.hear(PayoutRiskCleared(payout_id=payout_id, **cleared))  # type: ignore[arg-type]

    def tell(self, payout_id: str, status: str, minor: int = 10_000, currency: str = "EUR") -> None:
        told = {
            "reference": self.open_calls(payout_id, every=True)[0]["call_id"],
            "provider": HARBOUR.name,
            "notification_id": f"n{next(_numbers)}",
            "source": "webhook",
            "status": status,
            "amount": Money(minor, currency),
            "provider_reference": f"tr-{payout_id}",
        }
        self.hear(PayoutNotified.model_validate(told))

    def reply(self, payout_id: str, reply: TransferState) -> None:
        """What the provider says when it is asked."""
        call = self.open_calls(payout_id)[-1]
        ended = {name: call[name] for name in ("payout_id", "call_id", "act", "act_no")}
        self.hear(PayoutCallEnded(**ended, reply=reply.to_json(), ended_at=NOON))

    def open_calls(self, payout_id: str, *, every: bool = False) -> list[dict[str, object]]:
        statement = "SELECT * FROM call_view WHERE payout_id = %s ORDER BY created_at, kind"
        found = read(self.settings, "executor", statement, [payout_id])
        return [call for call in found if every or call["state"] != "ended"]


def make_busy(rooms: PayoutRooms) -> None:
    """Of every way of a pay-out one."""
    for order in range(8):
        gross = Money(50_000, "EUR")
        rooms.hear(capture(f"order-{order}", seller_account="s-1", gross=gross, fee=Money(0, "EUR"), net=gross))
    for payout_id in ("waiting", "sent", "paid", "failed", "back", "no", "again"):
        rooms.ask(payout_id)
    for payout_id in ("sent", "paid", "failed", "back"):
        rooms.tell(payout_id, "accepted")
    rooms.tell("paid", "paid")
    rooms.tell("failed", "failed")
    rooms.tell("back", "returned", 9_950)
    rooms.tell("no", "rejected")
    rooms.tell("again", "returned", 9_950)
    rooms.tell("again", "paid")
    rooms.reply("again", Paid("tr-again"))
    for payout_id, (to, minor, *words) in CONVERTED.items():
        rooms.ask(payout_id, payout_currency=to)
        for word in words:
            rooms.tell(payout_id, word, minor - 100 if word == "returned" else minor, to)
    rooms.reply("usd-again", Paid("tr-usd-again"))
    rooms.ask("too-much", "9000.00")
    rooms.ask("given-up", "1500.00")  # waits for a person
    rooms.hear(cancelled("given-up"))
    rooms.hear(requested("early"), cancelled("early"))


@pytest.fixture(scope="module")
def truth(servers: Servers, template: str) -> Iterator[tuple[AllSettings, list[tuple[str, str]]]]:
    """Books that the rooms have written, and (topic, event id) of all that they said; whoever changes them puts them back."""
    name = f"tally_b{secrets.token_hex(5)}"
    copy_database(servers, template, name)
    settings = load_settings(postgres=servers.postgres, database=name, secret=SECRET)
    rooms = PayoutRooms(settings)
    make_busy(rooms)
    rooms.close()
    yield rooms.settings, [(record.topic, header(record.headers, "ce_id") or "") for record in rooms.said]
    drop_database(servers, name)


@pytest.fixture
def busy(truth: tuple[AllSettings, object]) -> AllSettings:
    return truth[0]


def wrong(stores: Stores, settings: AllSettings) -> dict[str, str]:
    """Check → what it says."""
    books = read_all(stores)
    found = {*compare_payouts(books)}
    found |= {each for each in orders.compare_orders(pay_in.read_all(stores)) if each.key in books.ids()}
    sums = check_sums(stores, (*SUMS, *BALANCES, *holdings.SUMS), expected=True)
    sums.append(check_kinds(stores, {kind for page in PAGES for kind in page.kinds}, expected=True))  # type: ignore[attr-defined]
    found |= {*settlements.compare(settlements.read_all(stores, settings))}
    return {each.check: str(each) for each in found} | {each.name: each.detail for each in sums if not each.ok}


def test_what_the_rooms_wrote_agrees(busy: AllSettings) -> None:
    with Stores(busy) as stores:
        assert wrong(stores, busy) == {}
        books = read_all(stores)
        assert read_money_back(stores).orders == set(), "pay-outs are none of its business"
    states = {id_: (books.reservations[id_].state, transfer.state) for id_, transfer in books.transfers.items()}
    assert states == {
        "waiting": ("reserved", "calling"),
        "sent": ("settled", "submitted"),
        "paid": ("settled", "paid"),
        "failed": ("returned", "failed"),
        "back": ("returned", "returned"),
        "no": ("released", "rejected"),
        "again": ("settled", "paid"),
        "usd-sent": ("settled", "submitted"),
        "usd-back": ("returned", "returned"),
        "usd-again": ("settled", "paid"),
        "jpy-paid": ("settled", "paid"),
        "jpy-failed": ("returned", "failed"),
        "bhd-paid": ("settled", "paid"),
        "bhd-no": ("released", "rejected"),
    }
    assert (books.transfers["again"].turn, books.reservations["too-much"].state) == (2, "refused")
    assert books.reservations["given-up"].state == "released"


ACCOUNTS = ["fx:EUR-USD", "fx:EUR-JPY", "fx:EUR-BHD", "platform:fx-spread", "bank:fees"]


def test_a_converted_pay_out_is_booked_in_both_currencies_to_the_cent(busy: AllSettings) -> None:
    """Three are out for good and one is under way: each has cost 99.50, and left 0.50. What came back lost 1.00 dollar twice."""
    statement = "SELECT account, currency, debits - credits AS balance FROM account_view WHERE account = ANY(%s)"
    found = read(busy, "ledger", statement, [ACCOUNTS])
    balances = {(row["account"], row["currency"]): row["balance"] for row in found if row["balance"]}
    assert balances == {
        ("fx:EUR-USD", "EUR"): -2 * 9950,
        ("fx:EUR-USD", "USD"): 2 * 10_770,
        ("fx:EUR-JPY", "EUR"): -9950,
        ("fx:EUR-JPY", "JPY"): 16_153,
        ("fx:EUR-BHD", "EUR"): -9950,
        ("fx:EUR-BHD", "BHD"): 40_610,
        ("platform:fx-spread", "EUR"): -4 * 50,
        ("bank:fees", "EUR"): 2 * 50,
        ("bank:fees", "USD"): 2 * 100,
    }
    unbalanced = "SELECT currency FROM trial_balance_view WHERE debits <> credits"
    assert read(busy, "ledger", unbalanced, []) == []


def test_what_is_sent_is_expected_at_the_bank_in_its_own_currency(busy: AllSettings) -> None:
    statement = "SELECT payment_order_id AS id, currency, expected FROM tally_view WHERE payment_order_id = ANY(%s)"
    found = read(busy, "reconciliation", statement, [[*CONVERTED]])
    assert {(row["id"], row["currency"]): row["expected"] for row in found} == {
        ("usd-sent", "USD"): -10_770,
        ("usd-back", "USD"): -100,
        ("usd-again", "USD"): -10_870,
        ("jpy-paid", "JPY"): -16_153,
        ("jpy-failed", "JPY"): 0,
        ("bhd-paid", "BHD"): -40_610,
    }


def test_the_wallet_moves_in_its_own_currency_alone(busy: AllSettings) -> None:
    found = read(busy, "wallet", "SELECT DISTINCT currency FROM movement_view", [])
    assert [row["currency"] for row in found] == ["EUR"]


def test_stores_and_topics_name_the_same_events(truth: tuple[AllSettings, list[tuple[str, str]]]) -> None:
    settings, said = truth
    with Stores(settings) as stores:
        stored = {event_id for event_id, _ in SAID.stored(read_all(stores))}
        assert stored == {event_id for topic, event_id in said if topic == "payout-movements.v1"}
        books = pay_in.read_all(stores)
    for subject in pay_in_said.SUBJECTS[2:]:
        topic = subject.hop.topic.name
        assert {event_id for event_id, _ in subject.stored(books)} == {id_ for name, id_ in said if name == topic}, (
            topic
        )


TAMPERED = {
    "reconciliation.tallies SET expected = expected - 1 WHERE payment_order_id = 'paid'": {"payouts_expected_at_bank"},
    "reconciliation.tallies SET facts = '{}' WHERE payment_order_id = 'back'": {"payouts_expected_at_bank"},
    "wallet.reservations SET amount = amount + 1 WHERE payout_id = 'waiting'": {
        "reservations_followed",
        "wallet_reserved_held",
    },
    "wallet.reservations SET state = 'released' WHERE payout_id = 'waiting'": {
        "reservations_followed",
        "wallet_reserved_held",
    },
    "wallet.reservations SET keep = 5 WHERE payout_id = 'paid'": {"reservations_followed"},
    "wallet.reservations SET state = 'settled' WHERE payout_id = 'failed'": {"reservations_followed"},
    "wallet.reservations SET moved_by = gen_random_uuid() WHERE payout_id = 'sent'": {"reservations_followed"},
    "wallet.movements SET to_reserved = to_reserved - 1 WHERE kind = 'reserved' AND subject_id = 'paid'": {
        "reservations_followed",
        "wallet_pockets_step",
    },
    "wallet.movements SET available_after = available_after - 1, reserved_after = reserved_after + 1"
    " WHERE kind = 'released'": {"wallet_pockets_step"},
    "payouts.payouts SET ended = 'paid' WHERE payout_id = 'given-up'": {"reservations_followed"},
    "wallet.movements SET part = '#2' WHERE kind = 'settled' AND subject_id = 'paid'": {"payouts_in_wallet"},
    "wallet.movements SET part = '#3' WHERE kind = 'settled' AND subject_id = 'again' AND part = '#2'": {
        "payouts_in_wallet"
    },
    "wallet.movements SET cause_event_id = gen_random_uuid() WHERE kind = 'returned' AND subject_id = 'back'": {
        "payouts_in_wallet",
        "reservations_followed",
    },
    "wallet.movements SET kind = 'invented' WHERE kind = 'returned' AND subject_id = 'again'": {
        "payouts_in_wallet",
        "kinds_audited",
    },
    "wallet.wallets SET reserved = reserved + 1, available = available - 1": {"wallet_reserved_held"},
    "ledger.journals SET template = 'payout_paid' WHERE template = 'payout_failed'": {"payouts_in_ledger"},
    "ledger.journals SET part = '#2' WHERE template = 'payout_returned' AND subject_id = 'back'": {"payouts_in_ledger"},
    "ledger.journals SET cause_event_id = gen_random_uuid() WHERE template = 'payout_paid' AND subject_id = 'paid'": {
        "payouts_in_ledger"
    },
    "ledger.journals SET subject_id = 'nobody' WHERE template = 'payout_paid' AND subject_id = 'paid'": {
        "payouts_in_ledger",
        "in_transit_explained",
    },
    "ledger.entries SET amount = amount + 1 WHERE journal_id ="
    " (SELECT journal_id FROM ledger.journals WHERE template = 'payout_submitted' AND subject_id = 'sent')": {
        "payouts_in_ledger",
        "in_transit_explained",
        "ledger_balances",
        "payouts_expected_at_bank",
        "wallet_equals_payable",
    },
    "executor.payouts SET state = 'rejected' WHERE payout_id = 'sent'": {
        "payouts_in_wallet",
        "payouts_in_ledger",
        "in_transit_explained",
    },
    "executor.payouts SET state = 'rejected', outcome_event_id = cause_event_id, outcome_place = 0"
    " WHERE payout_id = 'waiting'": {"payouts_in_wallet"},
    "executor.payouts SET state = 'submitted' WHERE payout_id = 'paid'": {
        "payouts_in_wallet",
        "payouts_in_ledger",
        "in_transit_explained",
    },
    "executor.payouts SET returned_minor = 9951 WHERE payout_id = 'back'": {"payouts_in_ledger"},
    "executor.payouts SET cost_minor = cost_minor + 1 WHERE payout_id = 'jpy-paid'": {"payouts_in_ledger"},
    "executor.payouts SET sent_minor = sent_minor + 1 WHERE payout_id = 'usd-sent'": {
        "payouts_in_ledger",
        "in_transit_explained",
    },
    "executor.payouts SET returned_minor = returned_minor + 1 WHERE payout_id = 'usd-back'": {"payouts_in_ledger"},
    "ledger.entries SET amount = amount + CASE direction WHEN 'credit' THEN 1 ELSE 0 END WHERE currency = 'BHD'": {
        "payouts_in_ledger",
        "in_transit_explained",
        "journals_balanced",
        "payouts_expected_at_bank",
        "ledger_balances",
    },
    "executor.payouts SET turn = 2 WHERE payout_id = 'paid'": {"payouts_in_wallet", "payouts_in_ledger"},
    "executor.payouts SET turn = 1 WHERE payout_id = 'again'": {"payouts_in_wallet", "payouts_in_ledger"},
    "executor.payouts SET seller_account = 's-2' WHERE payout_id = 'sent'": {"payouts_in_wallet", "payouts_in_ledger"},
    "payouts.payouts SET ended = 'cancelled' WHERE payout_id = 'waiting'": {"reservations_followed"},
    "payouts.payouts SET ended = NULL, reserve = 'asked' WHERE payout_id = 'paid'": {"reservations_followed"},
    "payouts.payouts SET reserve = 'none' WHERE payout_id = 'paid'": {"reservations_followed"},
    "payouts.payouts SET reserve = 'asked' WHERE payout_id = 'early'": {"reservations_followed"},
    "payouts.payouts SET reserve = 'reserved' WHERE payout_id = 'too-much'": {"reservations_followed"},
    "payouts.payouts SET amount = amount + 1, asked = asked + 1 WHERE payout_id = 'paid'": {"reservations_followed"},
}


@pytest.mark.parametrize("change", TAMPERED)
def test_what_was_changed_since_is_found(change: str, busy: AllSettings, servers: Servers) -> None:
    admin = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=busy.database)
    with Changed(admin, f"UPDATE {change}") as stores:
        assert wrong(stores, busy).keys() == TAMPERED[change]
