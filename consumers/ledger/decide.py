"""(journals and balances of a batch, an execution, one of a pay-out, a settlement or a correction) → its journal. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from consumers.ledger import templates
from consumers.ledger.templates import Booked, Booking
from schemas.corrections import CorrectionApproved, check
from schemas.envelope import EventId, derive_id
from schemas.errors import Permanent
from schemas.events import PaymentCaptured
from schemas.journals import JournalPosted
from schemas.payouts import PayoutExecuted
from schemas.settlements import Settled
from topics.runtime.shape.consumer import Cause, Decision

JournalKey = tuple[str, str, str]  # subject, template, part
Side = tuple[str, str]  # account, currency

NOTHING = Decision()
WHOLE = ""  # the part of a fact about its whole order


@dataclass(frozen=True, slots=True)
class Balance:
    """An account in one currency. Facts are always posted, so decisions need no sums, and `save` locks them first."""

    account_id: int
    account: str
    currency: str
    name: str  # <account>:<currency>, its key on account-balances.v1

    @property
    def side(self) -> Side:
        return (self.account, self.currency)


class Posting(NamedTuple):
    """One journal with the balances that its lines move, in the same order."""

    journal: JournalPosted
    balances: tuple[Balance, ...]
    cause_event_id: EventId
    posted_at: datetime

    @property
    def part(self) -> str:
        return self.journal.part or WHOLE

    @property
    def key(self) -> JournalKey:
        return (self.journal.key, self.journal.template, self.part)


@dataclass(slots=True)
class Books:
    """The balances that a batch moves, and the journals of its orders and pay-outs."""

    balances: dict[Side, Balance] = field(default_factory=dict)
    postings: dict[JournalKey, Posting] = field(default_factory=dict)

    def fold(self, posting: Posting) -> None:
        self.postings[posting.key] = posting


def decide(state: Books, event: Booking, cause: Cause) -> Decision:
    """Post each event that has a template once; other events move no money.

    Errors: Permanent `journal_differs`; of a correction those of `schemas.corrections.check`.
    """
    if isinstance(event, CorrectionApproved):
        check(event)
    booked = templates.booked(event)
    return _post(state, event, booked, cause) if booked is not None and booked.entries else NOTHING


def _post(state: Books, event: Booking, booked: Booked, cause: Cause) -> Decision:
    """Errors: Permanent `journal_differs` if this part of the order or pay-out was posted with other lines."""
    template, part, entries = booked
    subject_id, ids = _subject(event)
    posted = state.postings.get((subject_id, template, part))
    if posted is not None:
        return _repeated(posted.journal, ids, entries)
    journal = JournalPosted(
        journal_id=derive_id(cause.event_id, "ledger.journal", 0, cause.entered_ms),
        template=template,
        part=part or None,
        entries=entries,
        **ids,
    )
    balances = tuple([state.balances[entry.account, entry.amount.currency] for entry in entries])
    return Decision((Posting(journal, balances, cause.event_id, cause.now),), (journal,), revision=1)


def _subject(event: Booking) -> tuple[str, dict[str, str]]:
    """What a journal is about, and its ids as the journal's fields. Captures come first: most events are captures."""
    if isinstance(event, PaymentCaptured) or not isinstance(event, PayoutExecuted | Settled | CorrectionApproved):
        return event.payment_order_id, {"payment_order_id": event.payment_order_id, "checkout_id": event.checkout_id}
    if isinstance(event, Settled):
        return event.subject, {"settlement": event.subject}
    if isinstance(event, CorrectionApproved):
        return event.correction_id, {"correction_id": event.correction_id}
    return event.payout_id, {"payout_id": event.payout_id}


def _repeated(posted: JournalPosted, ids: dict[str, str], entries: templates.Entries) -> Decision:
    """Ignore the same fact under another event id. Errors: Permanent `journal_differs`."""
    if posted.checkout_id == ids.get("checkout_id") and posted.entries == entries:
        return NOTHING
    raise Permanent("journal_differs", f"{posted.key} is posted in {posted.journal_id} with other lines")
