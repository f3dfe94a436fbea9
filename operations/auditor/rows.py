"""The rows that several pages compare: attempts, movements, journals; and the ids of the executor's events."""

from __future__ import annotations

from typing import NamedTuple

from operations.auditor.engine.findings import published
from schemas import events
from schemas.envelope import derive_id, time_ms_of

CAPTURED = "captured"
PAYOUT_KINDS = ("reserved", "released", "settled", "returned")  # movements for pay-outs
SPEAKER = published(events.PaymentCaptured).speaker


class Attempt(NamedTuple):
    state: str
    psp: str
    call_id: str
    psp_reference: str | None
    gross: int
    currency: str
    cause_event_id: str
    outcome_event_id: str | None
    manual: bool = False  # authorised, to be captured later
    behind: int = 0  # the number of its operations and disputes, which `money_back` compares

    @property
    def took_all(self) -> bool:
        """Whether the charge itself took the whole amount."""
        return self.state == "captured" and not self.manual


class Movement(NamedTuple):
    cause: str
    seller: str
    currency: str
    amount: int  # signed
    kind: str = CAPTURED
    part: str = ""


class Journal(NamedTuple):
    """A journal's amounts in one currency. `lines` is its stored number of lines, `found` the number in this currency.

    The PSP owes us `gross` more, we owe the seller `net` more, `fee` is revenue; below zero if money is returned.
    """

    cause: str
    currency: str
    lines: int
    found: int
    debits: int
    credits: int
    receivable: str | None
    gross: int
    payable: str | None
    net: int
    fee: int
    kind: str = CAPTURED  # its template
    part: str = ""


ATTEMPTS = """
SELECT payment_order_id, state, psp, call_id, psp_reference, gross_minor, currency, cause_event_id, outcome_event_id,
    expires_at IS NOT NULL AND state <> 'pending', operations
FROM attempt_view"""
MOVEMENTS = """
SELECT payment_order_id, cause_event_id::text, seller_account, currency, amount, kind, part, movement_id::text
FROM movement_view"""
JOURNALS = """
SELECT e.payment_order_id, e.cause_event_id::text, e.currency,
    (SELECT j.lines FROM journal_view j WHERE j.journal_id = e.journal_id), count(*)::int,
    coalesce(sum(amount) FILTER (WHERE direction = 'debit'), 0)::bigint,
    coalesce(sum(amount) FILTER (WHERE direction = 'credit'), 0)::bigint,
    min(account) FILTER (WHERE account LIKE 'psp:%%:receivable'),
    coalesce(sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END)
        FILTER (WHERE account LIKE 'psp:%%:receivable'), 0)::bigint,
    min(account) FILTER (WHERE account LIKE 'seller:%%'),
    coalesce(sum(CASE direction WHEN 'debit' THEN -amount ELSE amount END)
        FILTER (WHERE account LIKE 'seller:%%'), 0)::bigint,
    coalesce(sum(CASE direction WHEN 'debit' THEN -amount ELSE amount END)
        FILTER (WHERE account = 'platform:fees'), 0)::bigint,
    e.template, e.part
FROM entry_view e WHERE {where}
GROUP BY e.journal_id, e.payment_order_id, e.cause_event_id, e.currency, e.template, e.part"""


def event_id_of(cause: str, place: int) -> str:
    """The id of the executor's event at this place of its decision about the cause."""
    return derive_id(cause, SPEAKER, place, time_ms_of(cause))
