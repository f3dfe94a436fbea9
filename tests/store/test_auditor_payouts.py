"""What the auditor reads of pay-outs on a real database: silent on what the rooms wrote, and not on what was changed since."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from consumers.executor import consumer as executor
from consumers.payouts import consumer as payouts
from operations.auditor import sellers
from operations.auditor.engine.published import PublishedIds
from operations.auditor.engine.upstreams import DOORS_SOURCE
from operations.auditor.payouts.compare import compare_payouts
from operations.auditor.payouts.page import SAID
from operations.auditor.payouts.reading import read_all
from operations.stack.servers import Servers
from operations.stack.settings import AllSettings, load_settings
from schemas.events import AnyEvent
from schemas.money import Money
from schemas.payouts import (
    PayoutApproved,
    PayoutCancelRequested,
    PayoutNotified,
    PayoutReady,
    PayoutRequested,
    PayoutScreeningRequested,
)
from tests.conftest import SECRET, copy_database, drop_database
from tests.store.changed import Changed
from tests.store.hearing import NOW, Hearing
from tests.store.test_payouts_store import LONG_AGO, cleared, reserved
from tests.unit.payouts_room import HARBOUR, requested, seller
from topics.exchange_rates import FxRate
from topics.payout_rules import PayoutRules

RULES = {"approvals": [{"currency": "EUR", "above": "100.00", "persons": 1}]}
RATES = (FxRate(currency="EUR", payout_currency="USD", rate="1.0825", spread_bps=50),)
ACCOUNTS = {"payouts": PayoutRules.model_validate(RULES), "payout_providers": (HARBOUR,), "fx": RATES}


class Desk:
    """Payouts and the executor: each hears at once what the other says. Doors and risk are rows."""

    def __init__(self, settings: AllSettings, servers: Servers) -> None:
        self.settings = settings.model_copy(update=ACCOUNTS)
        self.payouts = Hearing(self.settings, payouts.build(self.settings), source=DOORS_SOURCE)
        self.executor = Hearing(self.settings, executor.build(self.settings), "b")
        self.dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=settings.database)

    def hear(self, event: AnyEvent) -> None:
        said = self.payouts.hears(event)
        if isinstance(event, PayoutRequested):
            asked = "INSERT INTO doors.operation_ids (kind, id, owner, reply, accepted_at, event_id)"
            values = "VALUES ('payout', %s, 'shop', '', now(), %s)"
            self.change(f"{asked} {values}", event.payout_id, self.payouts.ids[-1])
        for each in said:
            if isinstance(each, PayoutReady):
                self.executor.hears(each)
            if isinstance(each, PayoutScreeningRequested):
                self._decide(each)

    def _decide(self, asked: PayoutScreeningRequested) -> None:
        self.change(
            "INSERT INTO risk.payout_screenings SELECT * FROM jsonb_populate_record(NULL::risk.payout_screenings, %s::jsonb)",
            psycopg.types.json.Json(
                {
                    "payout_id": asked.payout_id,
                    "screen_no": asked.screen_no,
                    "seller_account": asked.seller_account,
                    "party": "p",
                    "decided_at": NOW.isoformat(),
                    "outcome": "cleared",
                    "rule": "none",
                    "list_version": "1",
                    "score": 0,
                    "event_id": self.payouts.ids[-1],
                    "country": "DE",
                    "entries": [],
                }
            ),
        )
        self.hear(cleared(asked.payout_id, asked.screen_no))

    def provider_says(self, payout_id: str, status: str) -> None:
        statement = "SELECT call_id, sent_minor, sent_currency FROM payout_view WHERE payout_id = %s"
        (row,) = self.executor.rows(statement, payout_id)
        told = PayoutNotified(
            reference=row["call_id"],
            provider="harbour",
            notification_id=f"{payout_id} {status}",
            source="webhook",
            status=status,  # type: ignore[arg-type]
            amount=Money(row["sent_minor"], row["sent_currency"]),
            provider_reference=f"tr-{payout_id}",
        )
        for said in self.executor.hears(told):
            self.hear(said)

    def change(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.dsn) as conn:
            conn.execute("SET session_replication_role = replica")  # past the triggers
            conn.execute(statement, values or None)  # type: ignore[arg-type]

    def close(self) -> None:
        self.payouts.close()
        self.executor.close()


@pytest.fixture(scope="module")
def desk(servers: Servers, template: str) -> Iterator[Desk]:
    """A pay-out paid, one approved and returned, one cancelled, one that waits for a person, one on its way; one in dollars."""
    name = f"{template}_payouts"
    copy_database(servers, template, name)
    desk = Desk(load_settings(postgres=servers.postgres, database=name, secret=SECRET), servers)
    desk.change("INSERT INTO doors.sellers VALUES ('s-1', 'shop', 1, '{}', now(), now())")
    desk.hear(seller(destination_changed_at=LONG_AGO))
    for payout_id, minor in (("paid", 1000), ("returned", 20000), ("cancelled", 1000), ("waits", 20000), ("out", 1000)):
        desk.hear(requested(payout_id, amount=Money(minor, "EUR").amount))
        if payout_id != "cancelled":
            desk.hear(reserved(payout_id, minor))
    desk.hear(PayoutCancelRequested(payout_id="cancelled", owner="shop"))
    desk.hear(requested("dollars", amount="200.00", payout_currency="USD"))
    desk.hear(reserved("dollars", 20000))
    for payout_id, persons in (("returned", ("shop", "Bob")), ("dollars", ("Carla",))):
        (row,) = desk.payouts.rows("SELECT sha256 FROM payout_view WHERE payout_id = %s", payout_id)
        said = {"payout_id": payout_id, "decision": "approved", "sha256": row["sha256"], "reason": "seen"}
        for approver in persons:
            desk.hear(PayoutApproved(approver=approver, **said))
    for payout_id, words in (("paid", ["accepted", "paid"]), ("returned", ["paid", "returned"]), ("dollars", ["paid"])):
        for word in words:
            desk.provider_says(payout_id, word)
    assert desk.payouts.dead + desk.executor.dead == 0
    yield desk
    desk.close()
    drop_database(servers, name)


CASES = {
    "nothing": ("SELECT 1", set()),
    "a pay-out that no door took": ("DELETE FROM doors.operation_ids WHERE id = 'paid'", {("payouts_asked", "paid")}),
    "a request that is lost": (
        "DELETE FROM payouts.payouts WHERE payout_id = 'cancelled'",
        {("payouts_asked", "cancelled")},
    ),
    "a pay-out of another owner's seller": (
        "UPDATE payouts.payouts SET seller_account = 's-2' WHERE payout_id = 'out'",
        {("payouts_asked", "out")},
    ),
    "an id of schedules that somebody asked for": (
        "UPDATE payouts.payouts SET payout_id = 'auto~1' WHERE payout_id = 'cancelled'",
        {
            ("payouts_asked", "cancelled"),
            *((check, "auto~1") for check in ("payouts_asked", "payouts_screened", "payouts_end")),
        },
    ),
    "a release without an answer of risk": (
        "UPDATE payouts.screenings SET counts = false WHERE payout_id = 'paid'",
        {("payouts_screened", "paid")},
    ),
    "a release on an answer that was too old": (
        "ALTER TABLE payouts.releases DROP CONSTRAINT releases_check1;"
        " UPDATE payouts.releases SET released_at = fresh_until + interval '1 s' WHERE payout_id = 'out'",
        {("payouts_screened", "out")},
    ),
    "an answer that risk never gave": (
        "DELETE FROM risk.payout_screenings WHERE payout_id = 'out'",
        {("payouts_screened", "out")},
    ),
    "an answer that payouts never heard": (
        "DELETE FROM payouts.screenings WHERE payout_id = 'cancelled'",
        {("payouts_screened", "cancelled")},
    ),
    "an approval that is gone": (
        "DELETE FROM payouts.approvals WHERE approver = 'Bob'",
        {("payouts_approved", "returned")},
    ),
    "an approval of the requester that counts": (
        "UPDATE payouts.approvals SET why_not = NULL WHERE approver = 'shop'",
        {("payouts_approved", "returned")},
    ),
    "an approval of somebody who has set the destination that counts": (
        "UPDATE payouts.payouts SET destination_changers = '[\"operator bob\"]' WHERE payout_id = 'returned'",
        {("payouts_approved", "returned")},
    ),
    "an amount other than was approved": (
        "UPDATE payouts.payouts SET amount = amount + 1 WHERE payout_id = 'returned'",
        {("payouts_approved", "returned")},
    ),
    "a destination other than was approved": (
        "UPDATE payouts.payouts SET destination_fingerprint = 'ffff' WHERE payout_id = 'returned'",
        {("payouts_approved", "returned")},
    ),
    "another currency than was approved": (
        "UPDATE payouts.payouts SET payout_currency = 'GBP' WHERE payout_id = 'dollars'",
        {("payouts_approved", "dollars"), ("payouts_converted", "dollars")},
    ),
    "a release at another rate than it says": (
        "UPDATE payouts.releases SET rate = '1.09' WHERE payout_id = 'dollars'",
        {("payouts_converted", "dollars")},
    ),
    "a release that keeps more than it says": (
        "UPDATE payouts.releases SET cost = cost - 1 WHERE payout_id = 'dollars'",
        {("payouts_converted", "dollars")},
    ),
    "a release that was sent at another rate": (
        "UPDATE executor.payouts SET sent_minor = sent_minor + 1 WHERE payout_id = 'dollars'",
        {("payouts_converted", "dollars")},
    ),
    "a release that was converted and should not have been": (
        "ALTER TABLE payouts.payouts DROP CONSTRAINT converted;"
        " UPDATE payouts.payouts SET payout_currency = NULL WHERE payout_id = 'dollars'",
        {("payouts_approved", "dollars"), ("payouts_converted", "dollars")},
    ),
    "a release that needed more persons": (
        "ALTER TABLE payouts.releases DROP CONSTRAINT releases_check;"
        " UPDATE payouts.releases SET approvals_needed = 1 WHERE payout_id = 'out'",
        {("payouts_approved", "out")},
    ),
    "a pay-out that came back and is still paid here": (
        "UPDATE payouts.payouts SET ended = 'paid', status = 'paid' WHERE payout_id = 'returned'",
        {("payouts_end", "returned")},
    ),
    "a pay-out that was cancelled and may be out": (
        "UPDATE payouts.payouts SET ended = 'cancelled' WHERE payout_id = 'out'",
        {("payouts_end", "out")},
    ),
    "a release that the executor never had": (
        "DELETE FROM executor.payouts WHERE payout_id = 'out'",
        {("payouts_end", "out")},
    ),
    "a payment that the executor never had": (
        "DELETE FROM executor.payouts WHERE payout_id = 'paid'",
        {("payouts_end", "paid")},
    ),
    "a release that nobody here has made": (
        "UPDATE executor.payouts SET release_no = 2 WHERE payout_id = 'out'",
        {("payouts_end", "out")},
    ),
    "a status that its history does not have": (
        "UPDATE payouts.payouts SET status = 'in_review' WHERE payout_id = 'waits'",
        {("payouts_end", "waits")},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_auditor_is_silent_on_true_pay_outs_and_names_what_was_changed(desk: Desk, case: str) -> None:
    statement, findings = CASES[case]
    with Changed(desk.dsn, statement) as stores:
        assert {(finding.check, finding.key) for finding in compare_payouts(read_all(stores))} == findings


def test_an_approval_that_no_person_has_published_is_named(desk: Desk) -> None:
    topic = PublishedIds(SAID)
    with Changed(desk.dsn, "SELECT 1") as stores:
        books = read_all(stores)
    topic.keys = {approval.event_id: id_ for id_, found in books.approvals.items() for approval in found}
    assert list(topic.compare(books)) == []
    _, lost = topic.keys.popitem()
    assert [finding.key for finding in topic.compare(books)] == [lost]


def test_the_fixture_has_of_everything_something(desk: Desk) -> None:
    rows = desk.payouts.rows("SELECT status FROM payout_view ORDER BY payout_id")
    assert [row["status"] for row in rows] == [
        "cancelled",
        "paid",
        "processing",
        "paid",
        "returned",
        "awaiting_approval",
    ]


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("SELECT 1", set()),
        ("UPDATE doors.sellers SET revision = 2", {"s-1"}),
        ("DELETE FROM doors.sellers", {"s-1"}),
    ],
)
def test_terms_that_payouts_has_otherwise_than_the_doors_are_named(desk: Desk, statement: str, wrong: set[str]) -> None:
    """A freeze that it has not heard, for one."""
    with Changed(desk.dsn, statement) as stores:
        assert set(sellers.heard_by_payouts(stores, datetime.now(UTC) + timedelta(days=1)).wrong) == wrong
