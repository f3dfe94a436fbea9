"""The stores → the books of pay-outs: the ids of all, then the rows of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operations.auditor.engine.stores import Stores, scan, slices
from operations.auditor.engine.upstreams import DOORS_SOURCE
from operations.auditor.payouts.books import (
    ApprovalRow,
    PayoutBooks,
    PayoutRow,
    ReleaseRow,
    Request,
    ScreeningRow,
    SentRow,
)
from topics.catalog import PAYOUT_REQUESTS
from topics.runtime.shape.decode import door_claim

_PAYOUTS = """
SELECT payout_id, owner, seller_account, currency, amount, is_all, destination_fingerprint, sha256, requested_by,
    destination_changed_by, destination_changers, received_at, event_id::text, screen_no, release_no, released, ended,
    status, detail, payout_currency
FROM payout_view"""
_SENT = "SELECT payout_id, release_no, state, sent_minor, sent_currency, cost_minor FROM payout_view"
_SCREENINGS = "SELECT payout_id, screen_no, outcome, decided_at, counts FROM screening_view"
_APPROVALS = "SELECT payout_id, event_id::text, approver, decision, sha256, at, why_not FROM approval_view"
_RELEASES = (
    "SELECT payout_id, release_no, released_at, cleared_at, fresh_until, approvals_needed, target, rate, spread_bps, cost"
    " FROM release_view"
)
_REQUESTS = "SELECT operation_id, owner, event_id::text FROM operation_id_view WHERE kind = 'payout'"


def read_all(stores: Stores) -> PayoutBooks:
    ids = {row[0] for row in scan(stores, "payouts", _PAYOUTS, "payout_id", "")}
    ids |= {row[0] for row in scan(stores, "executor", _SENT, "payout_id", "")}
    ids |= {row[0] for row in stores.rows("doors", _REQUESTS)}
    books = PayoutBooks()
    for some in slices(sorted(ids)):
        add_payouts(stores, books, some)
    return books


def add_payouts(stores: Stores, books: PayoutBooks, payout_ids: Sequence[str]) -> None:
    """Read the rows of these pay-outs now; what follows from a row is read before the row."""
    wanted = list(payout_ids)

    def rows(room: str, select: str) -> list[tuple[Any, ...]]:
        return stores.rows(room, f"{select} WHERE payout_id = ANY(%s)", [wanted])

    books.sent |= {row[0]: SentRow(*row[1:]) for row in rows("executor", _SENT)}
    for id_, *screening in rows("payouts", _SCREENINGS):
        books.screenings[id_].append(ScreeningRow(*screening))
    for id_, *approval in rows("payouts", _APPROVALS):
        books.approvals[id_].append(ApprovalRow(*approval))
    for id_, *release in rows("payouts", _RELEASES):
        books.releases[id_].append(ReleaseRow(*release))
    for id_, screen_no in rows("risk", "SELECT payout_id, screen_no FROM payout_screening_view"):
        books.decided[id_].add(screen_no)
    books.payouts |= {row[0]: PayoutRow(*row[1:]) for row in rows("payouts", _PAYOUTS)}
    last = "SELECT DISTINCT ON (payout_id) payout_id, status, detail FROM history_view WHERE payout_id = ANY(%s)"
    found = stores.rows("payouts", f"{last} ORDER BY payout_id, id DESC", [wanted])
    books.last |= {id_: (status, code) for id_, status, code in found}
    books.refused |= {row[0] for row in rows("payouts", "SELECT event_id::text FROM refusal_view")}
    asked = stores.rows("doors", f"{_REQUESTS} AND operation_id = ANY(%s)", [wanted])
    books.requests |= {id_: _request(owner, event_id) for id_, owner, event_id in asked}
    sellers = sorted({payout.seller for payout in books.payouts.values()} - books.sellers.keys())
    known = "SELECT seller_account, owner FROM seller_view WHERE seller_account = ANY(%s)"
    books.sellers |= dict(stores.rows("doors", known, [sellers]))


def _request(owner: str, event_id: str) -> Request:
    return Request(owner, door_claim(PAYOUT_REQUESTS.name, DOORS_SOURCE, event_id))
