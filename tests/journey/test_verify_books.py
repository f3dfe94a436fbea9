"""`tally verify`: clean on true books, and red, by the right name, for every way of breaking them that it claims to see."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from consumers.payments.consumer import build as build_payments
from operations.auditor import audit as auditing
from operations.auditor import corrections, settlements
from operations.auditor.engine.report import Check, Report
from operations.auditor.engine.run import Patience
from operations.auditor.money_back.page import CHECKS as MONEY_BACK
from operations.cli.listening import listen
from operations.cli.timeline import UnknownId, timeline
from operations.stack import layout
from operations.stack.home import Home
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from operations.stack.supervisor import Supervisor
from psp.port import Charge
from psp.registry import make_psps
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import PaymentRequested, RiskCleared, WalletCredited
from schemas.money import Money
from tests.conftest import SECRET, delete_topics
from tests.databases import copy_database, drop_database
from tests.journey.books import unfinished
from tests.journey.shopping import checkouts
from tests.journey.whole import Whole, running, settings_for
from tests.simulator.running import free_port, send, wait_for
from topics import catalog
from topics.catalog import Topic
from topics.runtime.delivery.apply import apply
from topics.runtime.making.topics import apply_topics
from topics.runtime.outbox.outbox import OutboxRecord, dump_records
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.store import Store
from topics.settings import Settings

SEED = 7
LIMIT_S = 180.0
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Truth:
    """Books that a real run made. Nobody writes to them any more; each test breaks a copy."""

    settings: Settings
    servers: Servers

    def copy(self) -> Settings:
        name = f"tally_v{secrets.token_hex(5)}"
        copy_database(self.servers, self.settings.database, name)
        return self.settings.model_copy(update={"database": name})


@pytest.fixture(scope="module")
def truth(servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    settings = settings_for(lambda **overrides: own_settings(servers, tmp_path_factory.mktemp("verify"), **overrides))
    copy_database(servers, template, settings.database)
    try:
        apply_topics(settings)
        with running(settings, copies=1) as whole:
            buy(whole)
        with simulator(settings):
            yield Truth(settings, servers)
    finally:
        delete_topics(settings)
        drop_database(servers, settings.database)


def own_settings(servers: Servers, home: Path, **overrides: object) -> Settings:
    name = f"v{secrets.token_hex(5)}"
    own = {"topic_prefix": f"{name}.", "database": f"tally_{name}", "secret": SECRET, "home": home}
    return load_settings(kafka=servers.kafka, postgres=servers.postgres, **own, **overrides)


def buy(whole: Whole) -> None:
    asked = checkouts(SEED, count=20, of_each_fault=0, going_back=0)
    with ThreadPoolExecutor(4) as pool:
        offered = whole.till.offer(asked, pool)
        assert red(auditing.audit(whole.settings)) == {}, "while everything moves"
        for one in offered:
            one.result()
    assert red(auditing.audit(whole.settings)) == {}, "while the last of it moves"
    whole.wait_until(lambda: unfinished(whole.settings, asked), LIMIT_S)  # the last balances too: the rooms end now


@contextmanager
def simulator(settings: Settings) -> Iterator[None]:
    """The PSPs of these settings, on the books in their home."""
    port = int(settings.psps[0].url.rpartition(":")[2].partition("/")[0])
    keys = json.dumps({account.name: account.api_key for account in settings.psps})
    command = replace(layout.simulator(Home(settings.home), settings, port), environment={"SIMULATOR_KEYS": keys})
    supervisor = Supervisor()
    try:
        supervisor.add(command)
        wait_for(lambda: answers(settings))
        yield
    finally:
        supervisor.stop()


def answers(settings: Settings) -> bool:
    try:
        return send(next(iter(make_psps(settings.psps).values())).list("charge"))[0] == 200
    except OSError:
        return False


@pytest.fixture
def copy(truth: Truth, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A copy of the true books, to be broken. Nothing runs on it, so nothing is worth waiting for."""
    patience = Patience((0.01, 0.01, 0.01, 0.01), again_s=0.01, latest_s=0.0, still_s=0.0)
    monkeypatch.setattr(auditing, "PATIENCE", patience)
    settings = truth.copy()
    yield settings
    drop_database(truth.servers, settings.database)


@pytest.fixture
def break_(truth: Truth, copy: Settings) -> Callable[[str], None]:
    """Do what no role of the house may: as the superuser, past every trigger."""

    def run(statements: str) -> None:
        dsn = psycopg.conninfo.make_conninfo(truth.servers.postgres_admin, dbname=copy.database)
        with psycopg.connect(dsn) as conn:
            conn.execute("SET session_replication_role = replica")
            for statement in statements.split(";"):
                done = conn.execute(statement.encode())
                assert done.rowcount, f"changed nothing: {statement}"

    return run


def red(report: Report) -> dict[str, Check]:
    return {check.name: check for check in report.checks if not check.ok}


A_CAPTURE = "(SELECT payment_order_id FROM executor.attempts WHERE state = 'captured' ORDER BY 1 LIMIT 1)"
A_PAYMENT = "(SELECT checkout_id FROM payments.payments WHERE status = 'succeeded' ORDER BY 1 LIMIT 1)"
AN_ENTRY = "ctid = (SELECT ctid FROM ledger.entries LIMIT 1)"
A_WALLET = "ctid = (SELECT ctid FROM wallet.wallets WHERE version > 0 LIMIT 1)"
(NEVER_SAID,) = dump_records([OutboxRecord("executions.v1", b"k", [], b"")])
A_JOURNAL = f"(SELECT journal_id FROM ledger.journals WHERE subject_id = {A_CAPTURE})"

BREAKS = {
    "an entry is missing": (
        f"DELETE FROM ledger.entries WHERE {AN_ENTRY}",
        {"journals_balanced", "ledger_balances"},
    ),
    "an entry's amount is changed": (
        f"UPDATE ledger.entries SET amount = amount + 1 WHERE {AN_ENTRY}",
        {"journals_balanced", "ledger_balances"},
    ),
    "a journal is missing": (
        f"DELETE FROM ledger.entries WHERE journal_id = {A_JOURNAL};"
        f"DELETE FROM ledger.journals WHERE subject_id = {A_CAPTURE}",
        {"captures_in_ledger", "flags_caused", "journals_said", "ledger_balances"},
    ),
    "a journal has another cause": (
        f"UPDATE ledger.journals SET cause_event_id = gen_random_uuid() WHERE subject_id = {A_CAPTURE}",
        {"journals_caused", "journals_said"},
    ),
    "a whole journal is a cent too high": (
        f"UPDATE ledger.entries SET amount = amount + 1 WHERE journal_id = {A_JOURNAL} AND (direction = 'debit'"
        " OR account_id IN (SELECT account_id FROM ledger.accounts WHERE account LIKE 'seller:%'))",
        {"journals_caused", "wallet_equals_payable", "ledger_balances"},
    ),
    "an account is off by one": (
        "UPDATE ledger.balances SET debits = debits + 1 WHERE ctid = (SELECT ctid FROM ledger.balances LIMIT 1)",
        {"ledger_balances", "trial_balance", "account_balances_said"},
    ),
    "a wallet is off by one": (
        f"UPDATE wallet.wallets SET available = available + 1 WHERE {A_WALLET}",
        {"wallet_balances", "wallet_balances_said"},
    ),
    "a wallet's version has a gap": (
        f"UPDATE wallet.wallets SET version = version + 1 WHERE {A_WALLET}",
        {"wallet_versions", "wallet_balances_said"},
    ),
    "a movement is missing": (
        f"DELETE FROM wallet.movements WHERE subject_id = {A_CAPTURE}",
        {"captures_in_wallet", "flags_caused", "movements_said", "wallet_balances", "wallet_versions", "buyers_totals"},
    ),
    "a movement's amount is changed": (
        f"UPDATE wallet.movements SET amount = amount + 1 WHERE subject_id = {A_CAPTURE}",
        {"movements_caused", "wallet_equals_payable", "wallet_balances", "wallet_steps"},
    ),
    "a movement is of a kind that nobody knows": (
        f"UPDATE wallet.movements SET kind = 'odd' WHERE subject_id = {A_CAPTURE}",
        {"kinds_audited", "captures_in_wallet", "flags_caused", "buyers_totals"},
    ),
    "a journal is of a template that nobody knows": (
        f"UPDATE ledger.journals SET template = 'odd' WHERE subject_id = {A_CAPTURE}",
        {"kinds_audited", "captures_in_ledger", "flags_caused"},
    ),
    "a movement has no cause": (
        "INSERT INTO wallet.movements SELECT gen_random_uuid(), kind, 'nobody-asked', checkout_id, gen_random_uuid(),"
        " 1, at, 'nobody', currency, 1, 0, 0, 1 FROM wallet.movements LIMIT 1",
        {"movements_caused", "movements_said", "wallet_balances"},
    ),
    "an attempt has no order": (
        "INSERT INTO executor.attempts SELECT (a).* FROM (SELECT jsonb_populate_record(a,"
        ' \'{"payment_order_id": "nobody-asked", "call_id": "00"}\') AS a FROM executor.attempts a LIMIT 1) x',
        {"attempts_placed", "attempts_called"},
    ),
    "an attempt is missing": (
        f"DELETE FROM executor.attempts WHERE payment_order_id = {A_CAPTURE}",
        {"orders_attempted", "charges_captured", "states_caused", "movements_caused", "journals_caused"},
    ),
    "an attempt forgot that it was captured": (
        f"UPDATE executor.attempts SET state = 'declined' WHERE payment_order_id = {A_CAPTURE}",
        {"charges_captured", "outcomes_heard", "states_caused"},
    ),
    "an attempt is for another amount": (
        f"UPDATE executor.attempts SET gross_minor = gross_minor + 1 WHERE payment_order_id = {A_CAPTURE}",
        {"attempts_placed", "captures_charged"},
    ),
    "an attempt has another reference at the PSP": (
        f"UPDATE executor.attempts SET psp_reference = 'other' WHERE payment_order_id = {A_CAPTURE}",
        {"captures_charged", "outcomes_heard"},
    ),
    "an attempt was not caused by its placing": (
        f"UPDATE executor.attempts SET cause_event_id = gen_random_uuid() WHERE payment_order_id = {A_CAPTURE}",
        {"attempts_placed"},
    ),
    "a call is missing": (
        f"DELETE FROM executor.calls WHERE subject = {A_CAPTURE}",
        {"attempts_called"},
    ),
    "a call lies about": (
        "UPDATE executor.calls SET state = 'sending', lease_until = now() - interval '1 hour'"
        f" WHERE subject = {A_CAPTURE}",
        {"calls_young", "attempts_called"},
    ),
    "a payment is missing": (
        f"DELETE FROM payments.orders WHERE checkout_id = {A_PAYMENT};"
        f"DELETE FROM payments.history WHERE checkout_id = {A_PAYMENT};"
        f"DELETE FROM payments.payments WHERE checkout_id = {A_PAYMENT}",
        {"requests_stored", "screenings_asked", "attempts_placed", "movements_caused", "journals_caused"},
    ),
    "a request was accepted, and another one made the payment": (
        f"UPDATE payments.payments SET event_id = gen_random_uuid() WHERE checkout_id = {A_PAYMENT}",
        {"requests_stored", "payments_requested"},
    ),
    "an accepted request is gone, and another of its checkout was refused": (
        "INSERT INTO payments.refusals SELECT checkout_id, 'rival', 'id_taken', '', now(), gen_random_uuid() FROM"
        f" payments.payments WHERE checkout_id = {A_PAYMENT};DELETE FROM payments.payments WHERE checkout_id ="
        f" {A_PAYMENT}",
        {"requests_stored", "revenue"},
    ),
    "nobody is told of a refusal": (
        "INSERT INTO payments.refusals VALUES ('untold', 'shop', 'id_taken', '', now(), gen_random_uuid())",
        {"payments_said"},
    ),
    "nobody asked for a payment": (
        f"DELETE FROM doors.requests WHERE checkout_id = {A_PAYMENT}",
        {"payments_requested"},
    ),
    "a payment belongs to someone else": (
        f"UPDATE payments.payments SET owner = 'someone-else' WHERE checkout_id = {A_PAYMENT}",
        {"payments_requested", "revenue"},
    ),
    "a payment was never screened": (
        f"DELETE FROM risk.screenings WHERE checkout_id = {A_PAYMENT}",
        {"payments_screened"},
    ),
    "a refused payment went on": (
        f"UPDATE risk.screenings SET outcome = 'refused' WHERE checkout_id = {A_PAYMENT}",
        {"risk_decisions_followed"},
    ),
    "a flag is lost": (
        f"UPDATE payments.orders SET wallet_updated = false WHERE payment_order_id = {A_CAPTURE}",
        {"effects_flagged", "payments_done", "order_versions"},
    ),
    "an order forgot its outcome": (
        f"UPDATE payments.orders SET status = 'EXECUTING' WHERE payment_order_id = {A_CAPTURE}",
        {"outcomes_heard", "payments_done"},
    ),
    "an order's version has a gap": (
        f"UPDATE payments.orders SET version = version + 1 WHERE payment_order_id = {A_CAPTURE}",
        {"order_versions"},
    ),
    "a payment is not done, and its time is long over": (
        f"UPDATE payments.payments SET done_at = NULL, deadline = now() - interval '9 days' WHERE checkout_id = {A_PAYMENT}",
        {"payments_done", "payments_end"},
    ),
    "an hour's revenue is in the sums, and counted as open too": (
        "INSERT INTO payments.revenue_days SELECT (captured_at AT TIME ZONE 'UTC')::date, owner, currency,"
        " seller_account, psp, count(*), sum(gross), sum(fee), sum(net) FROM payments.orders WHERE status = 'SUCCESS'"
        " GROUP BY 1, 2, 3, 4, 5",
        {"revenue"},
    ),
    "an hour's revenue is in no sum": (
        "UPDATE payments.revenue_summed SET until = now() + interval '9 days'",
        {"revenue"},
    ),
    "a buyer paid for one order more": (
        "UPDATE wallet.buyers SET orders = orders + 1 WHERE ctid = (SELECT ctid FROM wallet.buyers LIMIT 1)",
        {"buyers_totals"},
    ),
    "a buyer's sum is another's": (
        "UPDATE wallet.buyers SET gross_total = gross_total + 1 WHERE ctid = (SELECT ctid FROM wallet.buyers LIMIT 1)",
        {"buyers_paid"},
    ),
    "an event is never published": (
        "INSERT INTO executor.outbox (id, keys, records, created_at)"
        f" VALUES (1, '{{1}}', ARRAY['\\x{NEVER_SAID.hex()}'::bytea], now() - interval '1 hour')",
        {"outboxes_young"},
    ),
    "nobody tries a parked message again": (
        "INSERT INTO wallet.parked (letter_id, topic, partition, kafka_offset, key, headers, timestamp_ms, event_id,"
        " hash, holds, state, attempts, due_at, parked_at) VALUES (gen_random_uuid(), 'executions.v1', 0, 0, 'k', '[]',"
        " 0, gen_random_uuid(), gen_random_uuid(), true, 'parked', 1, now() - interval '1 day', now())",
        {"parked_tried"},
    ),
    "a room has stopped": (
        "INSERT INTO ledger.stops (code, reason, messages) VALUES ('too_many_faults', 'a test', 0)",
        {"rooms_run"},
    ),
    "a room skipped a message": (
        "UPDATE wallet.positions SET next_offset = next_offset + 1000 WHERE topic = 'executions.v1' AND partition = 0",
        {"rooms_read"},
    ),
    "a room does not read": (
        "UPDATE wallet.positions SET next_offset = next_offset - 1 WHERE (topic, partition) ="
        " (SELECT topic, partition FROM wallet.positions WHERE next_offset > 0 LIMIT 1)",
        {"rooms_read"},
    ),
}


SETTLEMENTS = set(settlements.CHECKS) | {each.name for each in settlements.SUMS}  # no source is set up
CORRECTIONS = {*corrections.CHECKS, "corrections_said"}  # and nothing was to be corrected
PAYOUTS = {  # of which there are none in these books
    "approvals_said",
    "bank_files_whole",
    "in_transit_explained",
    "payout_movements_said",
    "payouts_approved",
    "payouts_asked",
    "payouts_called",
    "payouts_converted",
    "payouts_end",
    "payouts_in_ledger",
    "payouts_in_wallet",
    "payouts_screened",
    "payouts_sent_once",
    "reservations_followed",
    "sellers_heard_by_payouts",
    "transfers_known",
    "wallet_reserved_held",
}


def test_true_books_are_clean_and_every_check_looked_at_something(copy: Settings) -> None:
    report = auditing.audit(copy)
    assert red(report) == {}
    idle = {check.name for check in report.checks if not check.examined}
    nothing_behind = {*MONEY_BACK, "authorisations_end"}  # of these charges
    nobody = {"webhooks_made", "webhooks_sent", "sellers_said"}  # no endpoint, no registered seller
    nobody |= {"releases_held", "holdings_released"}  # so nothing is held back
    nobody |= {"reviews_counted", "resolutions_by_two", "statements_tie"}  # nor held for a person, or resolved by two
    assert idle == {"on_their_way", "dead_letters"} | nobody | nothing_behind | PAYOUTS | SETTLEMENTS | CORRECTIONS


def test_orders_may_be_booked_before_any_payment_is_done(copy: Settings, break_: Callable[[str], None]) -> None:
    """What every payment of several orders looks like for a moment."""
    break_("UPDATE payments.payments SET done_at = NULL")
    assert red(auditing.audit(copy)).keys() == {"payments_done"}  # which says that these could be


@pytest.mark.parametrize("case", BREAKS)
def test_broken_books_are_named(case: str, copy: Settings, break_: Callable[[str], None]) -> None:
    statements, wanted = BREAKS[case]
    break_(statements)
    found = red(auditing.audit(copy))
    assert wanted <= found.keys()
    assert all(check.detail for check in found.values())


# ── on its way, or lost ──────────────────────────────────────────────────────────────────────────────────────────────


def request(checkout_id: str) -> Message:
    event = PaymentRequested.model_validate_json(
        json.dumps(
            {
                "checkout_id": checkout_id,
                "owner": "shop",
                "buyer_info": {"buyer_account": "ann"},
                "payment_method": {"token": "tok_visa"},
                "payment_orders": [
                    {"payment_order_id": f"{checkout_id}-1", "seller_account": "s", "amount": "1.00", "currency": "EUR"}
                ],
            }
        )
    )
    return message(catalog.PAYMENT_REQUESTS, event, checkout_id)


def message(topic: Topic, event: PaymentRequested | RiskCleared, seed: str) -> Message:
    headers = record_headers(Envelope(derive_id(seed, "test", 0, 1), "/test", event_type(type(event)), NOW))
    value = event.model_dump_json(exclude_none=True).encode()
    return Message(topic.name, 0, 0, event.key.encode(), value, headers, 1)


def test_what_is_in_an_outbox_is_on_its_way_and_what_was_deleted_from_it_is_lost(
    copy: Settings, break_: Callable[[str], None]
) -> None:
    list(apply(Store(copy, "payments"), build_payments(copy), [request("new")], None, NOW))
    assert "payments_screened" not in red(auditing.audit(copy))
    break_("DELETE FROM payments.outbox")
    assert "new" in red(auditing.audit(copy))["payments_screened"].detail


def test_a_dead_letter_is_reported_and_explains_what_its_key_lacks(
    copy: Settings, break_: Callable[[str], None]
) -> None:
    cleared = RiskCleared(checkout_id="ghost", rule="none", list_version="", score=0)
    list(
        apply(Store(copy, "payments"), build_payments(copy), [message(catalog.RISK_DECISIONS, cleared, "x")], None, NOW)
    )
    (letters,) = [check for check in auditing.audit(copy).checks if check.name == "dead_letters"]
    assert (letters.ok, letters.examined) == (True, 1)
    assert "1 in payments" in letters.detail
    break_(
        "INSERT INTO risk.screenings SELECT 'ghost', buyer_account, decided_at, outcome, rule, list_version, score,"
        " gen_random_uuid() FROM risk.screenings LIMIT 1"
    )
    assert "screenings_asked" in red(auditing.audit(copy))


# ── the PSPs' own books ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_psp_that_does_not_answer_is_no_proof(copy: Settings) -> None:
    gone = [account.model_copy(update={"url": f"http://127.0.0.1:{free_port()}"}) for account in copy.psps]
    found = red(auditing.audit(copy.model_copy(update={"psps": tuple(gone)})))
    of_charges = {"captures_charged", "charges_captured", "orders_charged_once"}
    assert found.keys() == of_charges | {"operations_at_psp", "psp_operations_known", "disputes_known"}
    assert "does not answer" in found["captures_charged"].detail


def test_captures_that_the_psp_knows_nothing_of_are_named(copy: Settings, tmp_path: Path) -> None:
    port = free_port()
    elsewhere = [account.model_copy(update={"url": f"http://127.0.0.1:{port}/{account.name}"}) for account in copy.psps]
    other = copy.model_copy(update={"psps": tuple(elsewhere), "home": tmp_path})
    Home(tmp_path).prepare()
    with simulator(other):
        assert red(auditing.audit(other)).keys() >= {"captures_charged"}


def test_a_charge_of_which_we_know_nothing_is_named_and_so_is_a_second_charge_of_an_order(copy: Settings) -> None:
    with psycopg.connect(copy.dsn("tally_executor_read")) as conn:
        row = conn.execute("SELECT payment_order_id FROM executor.attempt_view WHERE state = 'captured'").fetchone()
    assert row is not None
    psp = make_psps(copy.psps)["northpay"]
    assert send(psp.request(Charge("f" * 32, row[0], Money(100, "EUR"), "tok_visa")))[0] == 200
    found = red(auditing.audit(copy))
    assert found.keys() >= {"charges_captured", "orders_charged_once"}
    assert row[0] in found["orders_charged_once"].detail


# ── one payment ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_timeline_of_an_order_has_every_store_and_the_psp_in_the_order_of_time(truth: Truth) -> None:
    with psycopg.connect(truth.settings.dsn("tally_executor_read")) as conn:
        row = conn.execute(
            "SELECT payment_order_id, call_id, checkout_id FROM executor.attempt_view WHERE state = 'captured'"
        ).fetchone()
    assert row is not None
    order_id, call_id, checkout_id = row
    found = timeline(truth.settings, order_id)
    assert {moment.where for moment in found.moments} == {
        *("doors", "payments", "risk", "executor", "PSP", "wallet", "ledger")
    }
    ours = [moment.at for moment in found.moments if moment.where != "PSP"]  # which may tell whole seconds
    assert ours == sorted(ours)
    steps = [moment.where if moment.where == "PSP" else moment.what for moment in found.moments]
    assert steps.index("attempted") < steps.index("sent to the PSP") < steps.index("PSP") < steps.index("captured")
    assert {moment.about for moment in found.moments} == {order_id, checkout_id}
    assert timeline(truth.settings, call_id) == found
    assert order_id in timeline(truth.settings, checkout_id).order_ids


def test_an_unknown_id_is_answered_with_the_nearest(truth: Truth) -> None:
    with pytest.raises(UnknownId) as refused:
        timeline(truth.settings, "c-77")
    assert "c-7" in refused.value.near


def test_the_events_of_one_payment_can_be_listened_to_from_the_beginning(truth: Truth) -> None:
    heard = next(listen(truth.settings, ["payment-requests.v1"], from_beginning=True, key="c-0"))
    assert (heard.event, heard.says["checkout_id"]) == ("PaymentRequested.v1", "c-0")
    assert "Ann Lee" not in str(heard.as_dict())


# ── topics: the last, since what was said stays said ─────────────────────────────────────────────────────────────────


def test_an_event_that_no_store_knows_of_is_named(copy: Settings) -> None:
    money = Money(1, "EUR")
    event = WalletCredited(
        payment_order_id="nobody",
        checkout_id="nobody",
        movement_id="nothing",
        seller_account="s",
        amount=money,
        available=money,
        pending=money,
        reserved=money,
        wallet_version=1,
    )
    headers = record_headers(Envelope(derive_id("nothing", "x", 0, 1), "/x", event_type(WalletCredited), NOW))
    producer = Producer({"bootstrap.servers": copy.kafka})
    name = copy.topic_prefix + catalog.WALLET_MOVEMENTS.name
    producer.produce(name, event.model_dump_json().encode(), b"nobody", headers=list(headers))  # type: ignore[arg-type]
    assert producer.flush(30) == 0
    assert "nobody" in red(auditing.audit(copy))["movements_said"].detail
