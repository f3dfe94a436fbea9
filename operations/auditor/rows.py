"""What more than one page compares: attempts, movements and journals, as their stores tell them; and the executor's events."""

from __future__ import annotations

from typing import NamedTuple

from operations.auditor.engine.findings import published
from schemas import events
from schemas.envelope import derive_id, time_ms_of

CAPTURED = "captured"
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
    manual: bool = False  # it authorised, and was to be captured later
    behind: int = 0  # operations and disputes that lie behind it: `money_back` compares those

    @property
    def took_all(self) -> bool:
        """The charge itself took the money, all of it."""
        return self.state == "captured" and not self.manual


class Movement(NamedTuple):
    cause: str
    seller: str
    currency: str
    amount: int  # signed
    kind: str = CAPTURED
    part: str = ""


class Journal(NamedTuple):
    """What a journal books in one currency. `lines` is how many it says it has in all, `found` how many are of this one.

    The PSP owes us `gross` more, we owe the seller `net` more, and `fee` is ours: below zero where money goes back.
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
    expires_at IS NOT NULL, operations
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
    """The id of the event that the executor published at this place of its decision on the cause."""
    return derive_id(cause, SPEAKER, place, time_ms_of(cause))
