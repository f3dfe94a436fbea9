"""What the auditor reads of money back on a real database: silent on what the rooms wrote, and not on what was changed since."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from operations.auditor.audit import PAGES
from operations.auditor.balances import SUMS as BALANCES
from operations.auditor.balances import check_debts, check_kinds
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import check_sums
from operations.auditor.money_back import amounts, effects, fees, operations, revenue
from operations.auditor.money_back.reading import read_all
from operations.auditor.money_back.unfinished import authorisations
from operations.auditor.pay_in import buyers, orders
from operations.auditor.pay_in import reading as pay_in
from operations.auditor.pay_in.sums import SUMS
from operations.cli.timeline import timeline
from operations.stack.servers import Servers
from operations.stack.settings import AllSettings, load_settings
from psp.replies import Captured, Reversed
from schemas.events import CaptureRequested, NotificationReceived, PaymentRequested, RefundRequested, VoidRequested
from schemas.money import Money
from schemas.money_back import DisputeNotified
from tests.conftest import SECRET
from tests.databases import copy_database, drop_database
from tests.store.books import NOON, PSPS, Rooms
from topics.runtime.shape.reading import read


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def pay(rooms: Rooms, order: str, **more: object) -> str:
    """EUR 10.00 to seller s, of which 1.00 is ours; its charge is placed. → the call's id."""
    asked = {
        "checkout_id": f"of-{order}",
        "owner": "shop",
        "buyer_info": {"buyer_account": "b1", "name": "Ada Lovelace", "country": "GB"},
        "payment_method": {"token": "tok_visa"},
        "payment_orders": (
            {
                "payment_order_id": order,
                "seller_account": "s",
                "amount": "10.00",
                "currency": "EUR",
                "platform_fee": "1.00",
            },
        ),
    }
    rooms.hear(PaymentRequested.model_validate(asked | more))
    return str(rooms.calls(order, "charge")[0]["call_id"])


_numbers = iter(range(1, 10_000))


def tell(rooms: Rooms, call_id: str, status: str, minor: int, about: str | None = None, **more: object) -> None:
    told = {
        "reference": call_id,
        "psp": PSPS[0].name,
        "notification_id": f"n{next(_numbers)}",
        "source": "webhook",
        "status": status,
        "amount": eur(minor),
        "psp_reference": f"at-psp-{call_id[:8]}",
        "scheme": "visa",
        "about": about,
    }
    rooms.hear(NotificationReceived.model_validate(told | more))


def dispute(rooms: Rooms, call_id: str, stage: int, status: str, reference: str = "D1") -> None:
    told = {
        "reference": call_id,
        "psp": PSPS[0].name,
        "notification_id": f"n{next(_numbers)}",
        "source": "webhook",
        "dispute_reference": reference,
        "stage": stage,
        "status": status,
        "amount": eur(200),
        "fee": eur(1500) if status == "opened" else None,
        "reason": "fraud",
    }
    rooms.hear(DisputeNotified.model_validate(told))


def ask(rooms: Rooms, kind: str, id_: str, order: str, amount: str | None = None, done: int = 0) -> str:
    """PaymentsOperation for, and done at the PSP where `done` says how much. → the call's id."""
    of = {"checkout_id": f"of-{order}", "owner": "shop", "payment_order_id": order, f"{kind}_id": id_}
    money = {"amount": amount, "currency": "EUR"} if amount else {}
    request = {"capture": CaptureRequested, "void": VoidRequested, "refund": RefundRequested}[kind]
    rooms.hear(request.model_validate({**of, **money}))
    (call_id,) = [call["call_id"] for call in rooms.calls(order, kind) if call["state"] != "ended"]
    if done:
        tell(rooms, call_id, "succeeded", done, kind)
    return str(call_id)


def make_busy(rooms: Rooms) -> None:
    """Of everything something: refunds done, taken back and open, captures in parts, a void, a charge that was taken back
    and done again, a dispute of two stages, and an order behind which there is nothing."""
    charge = pay(rooms, "refunded")
    tell(rooms, charge, "succeeded", 1000)
    ask(rooms, "refund", "r-1", "refunded", "3.33", 333)
    back = ask(rooms, "refund", "r-2", "refunded", "2.00", 200)
    tell(rooms, back, "reversed", 200, "refund")
    rooms.answer("refunded", "check", Reversed(f"at-psp-{back[:8]}", eur(200)))
    for stage, status in ((1, "opened"), (1, "won"), (2, "opened")):
        dispute(rooms, charge, stage, status)
    ask(rooms, "refund", "r-3", "refunded", "1.00")

    charge = pay(rooms, "parts", capture="manual")
    tell(rooms, charge, "authorised", 1000, expires_at=NOON + timedelta(days=6))
    ask(rooms, "capture", "c-1", "parts", "3.34", 334)
    ask(rooms, "capture", "c-2", "parts", "3.33", 333)
    ask(rooms, "void", "v-1", "parts", done=333)
    ask(rooms, "refund", "r-4", "parts", "6.67", 667)

    charge = pay(rooms, "again")
    tell(rooms, charge, "succeeded", 1000)
    tell(rooms, charge, "reversed", 1000)
    rooms.answer("again", "check", Reversed(f"at-psp-{charge[:8]}", eur(1000)))
    tell(rooms, charge, "succeeded", 1000)
    rooms.answer("again", "check", Captured(f"at-psp-{charge[:8]}", "visa", eur(1000)))

    tell(rooms, pay(rooms, "plain"), "succeeded", 1000)


@pytest.fixture
def rooms(stored: AllSettings) -> Iterator[Rooms]:
    rooms = Rooms(stored)
    yield rooms
    rooms.close()


@pytest.fixture(scope="module")
def truth(servers: Servers, template: str) -> Iterator[AllSettings]:
    """Books that the rooms have written; each test has a copy."""
    name = f"tally_b{secrets.token_hex(5)}"
    copy_database(servers, template, name)
    settings = load_settings(postgres=servers.postgres, database=name, secret=SECRET)
    rooms = Rooms(settings)
    make_busy(rooms)
    rooms.close()
    yield settings
    drop_database(servers, name)


@pytest.fixture
def busy(truth: AllSettings, servers: Servers) -> Iterator[AllSettings]:
    name = f"tally_b{secrets.token_hex(5)}"
    copy_database(servers, truth.database, name)
    yield truth.model_copy(update={"database": name})
    drop_database(servers, name)


def wrong(settings: AllSettings) -> dict[str, str]:
    """Check → what it says. Without the PSPs' listings: nobody listens there."""
    with Stores(settings) as stores:
        books, all_books = read_all(stores), pay_in.read_all(stores)
        found = {
            *operations.compare_operations(books),
            *amounts.compare_amounts(books),
            *effects.compare_effects(books),
            *fees.compare_fees(books),
            *revenue.compare_revenue(books),
            *(f for f in orders.compare_orders(all_books) if f.check != "captures_charged"),
        }
        sums = check_sums(stores, (*SUMS, *BALANCES), expected=True)
        sums.append(buyers.check_totals(stores, (0.0,), expected=True))
        return {finding.check: str(finding) for finding in found} | {c.name: c.detail for c in sums if not c.ok}


def test_what_the_rooms_wrote_agrees(busy: AllSettings) -> None:
    assert wrong(busy) == {}
    with Stores(busy) as stores:
        assert read_all(stores).orders == {"refunded", "parts", "again"}


TAMPERED = {
    "executor.operations SET amount_minor = 332 WHERE operation_id = 'r-1'": {"operations_placed", "refunds_in_wallet"},
    "executor.operations SET state = 'unresolved' WHERE operation_id = 'r-1'": {"money_back_caused"},
    "executor.operations SET fee_minor = 32 WHERE operation_id = 'c-2'": {"later_captures_in_ledger"},
    "executor.operations SET fee_minor = fee_minor + 1 WHERE operation_id = 'r-1'": {"fees_shared"},
    "executor.operations SET fee_minor = fee_minor - 1 WHERE operation_id = 'r-2'": {"fees_shared"},
    "executor.operations SET fee_minor = 99 WHERE payment_order_id = 'again'": {"fees_shared"},
    "executor.disputes SET fee_minor = 1 WHERE stage = 2": {"fees_shared"},
    "executor.operations SET turn = 3 WHERE payment_order_id = 'again'": {
        "reversals_booked",
        "later_captures_in_wallet",
    },
    "executor.disputes SET state = 'won' WHERE stage = 2": {"disputes_in_wallet", "disputes_in_ledger"},
    "executor.attempts SET outcome_event_id = cause_event_id WHERE payment_order_id = 'plain'": {"movements_caused"},
    "payments.operations SET final = true WHERE operation_id = 'c-1'": {"operations_placed"},
    "payments.operations SET status = 'processing' WHERE operation_id = 'v-1'": {"operations_flagged"},
    "payments.operations SET wallet_step = 0 WHERE operation_id = 'r-2'": {"operations_flagged"},
    "payments.disputes SET status = 'lost' WHERE stage = 2": {"operations_flagged"},
    "payments.revenue_lines SET gross = 332 WHERE part = 'r-1'": {"revenue_booked"},
    "payments.revenue_lines SET fee = fee + 1 WHERE part = 'c-2'": {"revenue_booked"},
    "payments.revenue_lines SET gross = 199 WHERE kind = 'chargeback_won'": {"revenue_booked"},
    "payments.revenue_lines SET gross = 201 WHERE kind = 'chargeback_opened'": {"revenue_booked"},
    "payments.revenue_lines SET seller_account = 't' WHERE part = 'r-4'": {"revenue_booked"},
    "payments.revenue_lines SET psp = 'southpay' WHERE part = 'c-1'": {"revenue_booked"},
    "payments.revenue_lines SET orders = 1 WHERE part = 'c-2'": {"revenue_booked"},
    "payments.revenue_lines SET summed = true WHERE part = 'c-2'": {"revenue"},
    "wallet.buyers SET gross_total = gross_total + 1": {"buyers_paid"},
    "wallet.buyers SET refunded_total = refunded_total + 1": {"buyers_paid"},
    "wallet.buyers SET orders = orders + 1": {"buyers_totals"},
}


@pytest.mark.parametrize(("change", "checks"), TAMPERED.items())
def test_what_was_changed_since_is_named(busy: AllSettings, servers: Servers, change: str, checks: set[str]) -> None:
    tamper(busy, servers, f"UPDATE {change}")
    assert checks <= wrong(busy).keys()


@pytest.mark.parametrize(
    ("delete", "checks"),
    [
        ("wallet.movements WHERE part = 'r-1'", {"refunds_in_wallet", "wallet_balances", "buyers_paid"}),
        ("wallet.movements WHERE kind = 'chargeback_won'", {"disputes_in_wallet"}),
        ("ledger.journals WHERE template = 'refund_reversed'", {"reversals_booked"}),
        (
            "ledger.entries WHERE amount = 1500 AND direction = 'debit'",
            {"journals_balanced", "ledger_balances", "wallet_equals_payable"},
        ),
        ("payments.operations WHERE operation_id = 'r-3'", {"operations_placed"}),
        ("payments.revenue_lines WHERE kind = 'refund_reversed'", {"revenue_booked"}),
        ("executor.operations WHERE operation_id = 'r-1'", {"revenue_booked"}),
        ("executor.operations WHERE operation_id = 'r-3'", {"operations_attempted"}),
        ("executor.calls WHERE kind = 'refund'", {"operations_called"}),
    ],
)
def test_what_is_gone_is_named(busy: AllSettings, servers: Servers, delete: str, checks: set[str]) -> None:
    tamper(busy, servers, f"DELETE FROM {delete}")
    assert checks <= wrong(busy).keys()


def tamper(settings: AllSettings, servers: Servers, statement: str) -> None:
    """As nobody may: past rights and triggers."""
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=settings.database)
    with psycopg.connect(dsn) as conn:
        conn.execute("SET session_replication_role = replica")
        assert conn.execute(statement).rowcount  # type: ignore[call-overload]


def test_revenue_is_to_the_cent_what_was_captured_and_what_went_back(rooms: Rooms) -> None:
    """Of each seller an order of 10.00 with a fee of 1.00: in thirds, a part of it, refunded in part, charged back and won."""
    for order, parts in {"thirds": (333, 333, 334), "part": (333,)}.items():
        charge = pay_seller(rooms, order, capture="manual")
        tell(rooms, charge, "authorised", 1000, expires_at=NOON + timedelta(days=6))
        for place, minor in enumerate(parts):
            ask(rooms, "capture", f"{order}-{place}", order, f"{minor / 100:.2f}", minor)
    ask(rooms, "void", "v-1", "part", done=667)
    tell(rooms, pay_seller(rooms, "refunded"), "succeeded", 1000)
    ask(rooms, "refund", "r-1", "refunded", "2.55", 255)
    charge = pay_seller(rooms, "disputed")
    tell(rooms, charge, "succeeded", 1000)
    dispute(rooms, charge, 1, "opened")
    assert report(rooms)["disputed"] == (1, 1000, 100, 900, 0, 200, 0)
    dispute(rooms, charge, 1, "won")
    assert report(rooms) == {
        "thirds": (1, 1000, 100, 900, 0, 0, 0),
        "part": (1, 333, 33, 300, 0, 0, 0),
        "refunded": (1, 1000, 100, 900, 255, 0, 25),
        "disputed": (1, 1000, 100, 900, 0, 0, 0),
    }
    fees = read(
        rooms.settings,
        "ledger",
        "SELECT sum(credits - debits) AS fees FROM account_view WHERE account = 'platform:fees'",
    )
    assert fees[0]["fees"] == 100 + 33 + 100 - 25 + 100
    assert wrong(rooms.settings) == {}


def pay_seller(rooms: Rooms, order: str, **more: object) -> str:
    asked = {
        "payment_order_id": order,
        "seller_account": order,
        "amount": "10.00",
        "currency": "EUR",
        "platform_fee": "1.00",
    }
    return pay(rooms, order, payment_orders=(asked,), **more)


def report(rooms: Rooms) -> dict[str, tuple[int, ...]]:
    """Seller → orders, then minor units."""
    lines = read(rooms.settings, "payments", "SELECT * FROM revenue_view")
    names = ("orders", "gross", "fee", "net", "refunded", "charged_back", "fee_returned")
    return {line["seller_account"]: tuple(int(line[name]) for name in names) for line in lines}


def test_a_timeline_tells_what_the_executor_did_behind_a_charge(truth: AllSettings) -> None:
    for given in ("refunded", "r-2"):
        told = [(moment.what, moment.detail) for moment in timeline(truth, given).moments if moment.where == "executor"]
        whats = [what for what, _ in told]
        assert whats.count("refund queued") == 3
        assert any(what == "refund done" and detail.startswith("r-1, at-psp-") for what, detail in told)
        assert any(what == "refund reversed" and "r-2, asked about once" in detail for what, detail in told)
        assert "refund calling" in whats, "r-3 is at the PSP"
        assert "refund call due" in whats
        assert {"dispute won", "dispute opened"} <= set(whats)
        assert "the PSP is asked" in whats
    again = [(moment.what, moment.detail) for moment in timeline(truth, "again").moments if moment.where == "executor"]
    assert any(what == "capture done" and "turn 2, asked about 2 times" in detail for what, detail in again)
    (dispute_id,) = {row["dispute_id"] for row in read(truth, "executor", "SELECT dispute_id FROM dispute_view")}
    assert timeline(truth, str(dispute_id)).checkout_id == timeline(truth, "D1").checkout_id == "of-refunded"
    nobody = (PSPS[0].model_copy(update={"url": "http://127.0.0.1:1"}),)
    story = timeline(truth.model_copy(update={"psps": nobody}), "r-4").moments
    assert [moment.what for moment in story].count("no answer") == 5, "of the charge, two captures, a void and a refund"


def test_a_charge_is_told_at_its_own_time_whatever_happens_behind_it_later(rooms: Rooms) -> None:
    by_itself, by_hand = pay(rooms, "by-itself"), pay(rooms, "by-hand", capture="manual")
    tell(rooms, by_itself, "succeeded", 1000)
    tell(rooms, by_hand, "authorised", 1000, expires_at=NOON + timedelta(days=6))
    rooms.now = NOON + timedelta(hours=1)
    ask(rooms, "refund", "r-1", "by-itself", "1.00", 100)
    ask(rooms, "capture", "c-1", "by-hand", "1.00", 100)
    nobody = (PSPS[0].model_copy(update={"url": "http://127.0.0.1:1"}),)
    settings = rooms.settings.model_copy(update={"psps": nobody})
    for given, what in (("by-itself", "captured"), ("by-hand", "authorised")):
        at = {m.what: m.at for m in timeline(settings, given).moments if m.where == "executor"}
        assert (at[what], at["refund done" if what == "captured" else "capture done"]) == (NOON, rooms.now)


def test_a_charge_that_is_captured_by_hand_is_captured_with_its_last_capture(rooms: Rooms) -> None:
    tell(rooms, pay(rooms, "by-hand", capture="manual"), "authorised", 1000, expires_at=NOON + timedelta(days=6))
    ask(rooms, "capture", "c-1", "by-hand", "1.00", 100)
    rooms.now = captured_at = NOON + timedelta(hours=1)
    ask(rooms, "capture", "c-2", "by-hand", "9.00", 900)
    rooms.now = NOON + timedelta(hours=2)
    ask(rooms, "refund", "r-1", "by-hand", "1.00", 100)
    nobody = (PSPS[0].model_copy(update={"url": "http://127.0.0.1:1"}),)
    moments = timeline(rooms.settings.model_copy(update={"psps": nobody}), "by-hand").moments
    assert [m.at for m in moments if (m.where, m.what) == ("executor", "captured")] == [captured_at]


def test_an_authorisation_that_outlives_its_time_is_named(rooms: Rooms) -> None:
    charge = pay(rooms, "parts", capture="manual")
    tell(rooms, charge, "authorised", 1000, expires_at=NOON + timedelta(days=6))
    with Stores(rooms.settings) as stores:
        assert authorisations(stores, NOON + timedelta(days=6, hours=1)).wrong == {}
        seen = authorisations(stores, NOON + timedelta(days=6, hours=3))
    assert seen.examined == 1
    assert list(seen.wrong) == ["parts"]


def test_wallets_below_zero_are_told_and_not_judged(busy: AllSettings) -> None:
    with Stores(busy) as stores:
        check = check_debts(stores)
    assert (check.ok, check.examined, check.detail) == (True, 1, "1 of them, -8.00 EUR in all")


def test_each_kind_of_movement_and_journal_is_some_page_s(busy: AllSettings) -> None:
    kinds = {kind for page in PAGES for kind in page.kinds}  # type: ignore[attr-defined]
    with Stores(busy) as stores:
        assert check_kinds(stores, kinds, expected=True).ok
