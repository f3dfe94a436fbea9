"""The stores → the books of pay-outs: the ids of all, from effects to causes, then the rows of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operations.auditor.engine.stores import Stores, scan, slices
from operations.auditor.reservations.books import (
    IN_TRANSIT,
    TEMPLATES,
    AskedPayout,
    Booked,
    KeptReservation,
    Moved,
    PayoutBooks,
    Terms,
    Transfer,
)
from operations.auditor.rows import PAYOUT_KINDS, event_id_of

_ASKED = """
SELECT payout_id, owner, seller_account, currency, CASE WHEN NOT is_all THEN amount END, minimum, keep, amount, reserve, ended
FROM payout_view"""
_RESERVATIONS = """
SELECT payout_id, owner, seller_account, currency, asked, minimum, keep, amount, state, placed_by::text, moved_by::text
FROM reservation_view"""
_TRANSFERS = """
SELECT payout_id, seller_account, currency, amount_minor, bank_account, state, turn, returned_minor, sent_minor,
    sent_currency, cost_minor, outcome_event_id, outcome_place
FROM payout_view"""
_MOVEMENTS = """
SELECT payment_order_id, kind, part, cause_event_id::text, seller_account, currency, amount, to_reserved, wallet_version
FROM movement_view WHERE payment_order_id = ANY(%s) AND kind = ANY(%s) ORDER BY wallet_version"""
_JOURNALS = """
SELECT payment_order_id, template, part, cause_event_id::text, array_agg(account), array_agg(currency),
    array_agg(CASE direction WHEN 'debit' THEN amount ELSE -amount END)
FROM entry_view WHERE payment_order_id = ANY(%s) AND template = ANY(%s) GROUP BY 1, 2, 3, 4"""
_IN_TRANSIT = """
SELECT payment_order_id, currency, sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END)::bigint
FROM entry_view WHERE account = %s AND payment_order_id = ANY(%s) GROUP BY 1, 2"""


def read_all(stores: Stores) -> PayoutBooks:
    posted = "SELECT DISTINCT payment_order_id FROM journal_view WHERE template = ANY(%s)"
    ids = {row[0] for row in stores.rows("ledger", posted, [list(TEMPLATES)])}
    moved = "SELECT DISTINCT payment_order_id FROM movement_view WHERE kind = ANY(%s)"
    ids |= {row[0] for row in stores.rows("wallet", moved, [list(PAYOUT_KINDS)])}
    ids |= {row[0] for row in scan(stores, "wallet", _RESERVATIONS, "payout_id", "")}
    ids |= {row[0] for row in scan(stores, "executor", _TRANSFERS, "payout_id", "")}
    ids |= {row[0] for row in scan(stores, "payouts", _ASKED, "payout_id", "")}
    in_transit = "SELECT DISTINCT payment_order_id FROM entry_view WHERE account = %s"
    ids |= {row[0] for row in stores.rows("ledger", in_transit, [IN_TRANSIT])}
    books = PayoutBooks()
    for some in slices(sorted(ids)):
        add_payouts(stores, books, some)
    return books


def add_payouts(stores: Stores, books: PayoutBooks, payout_ids: Sequence[str]) -> None:
    """Read the rows of these pay-outs now, effects before causes."""
    wanted = list(payout_ids)

    def rows(room: str, select: str) -> list[tuple[Any, ...]]:
        return stores.rows(room, f"{select} WHERE payout_id = ANY(%s)", [wanted])

    for id_, template, part, cause, accounts, currencies, amounts in stores.rows(
        "ledger", _JOURNALS, [wanted, list(TEMPLATES)]
    ):
        lines = dict(zip(zip(accounts, currencies, strict=True), amounts, strict=True))
        books.journals[id_].append(Booked(template, part, cause, lines))
    for id_, currency, minor in stores.rows("ledger", _IN_TRANSIT, [IN_TRANSIT, wanted]):
        books.in_transit[id_][currency] = minor
    for id_, *moved in stores.rows("wallet", _MOVEMENTS, [wanted, list(PAYOUT_KINDS)]):
        books.movements[id_].append(Moved(*moved))
    for row in rows("wallet", _RESERVATIONS):
        books.reservations[row[0]] = KeptReservation(Terms(*row[1:7]), *row[7:])
    for id_, *about, cause, place in rows("executor", _TRANSFERS):
        books.transfers[id_] = Transfer(event_id_of(cause, place) if cause else None, *about)
    for row in rows("payouts", _ASKED):
        books.asked[row[0]] = AskedPayout(Terms(*row[1:7]), *row[7:])
