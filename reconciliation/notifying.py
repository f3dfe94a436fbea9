"""A break about an outcome that the executor does not know → what it is told, once: it asks the PSP, and the answer counts.

It is told of nothing that it holds as declined, failed, voided or expired: there a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from reconciliation.formats import keys
from reconciliation.formats.shape import NO_KEY
from reconciliation.matching import Verdict
from reconciliation.state import Change, Reconciliation, Told
from reconciliation.tally import DISPUTES, Reference, Tally
from reconciliation.twice import Named, charges_of, order_of
from schemas.events import NotificationReceived, OperationKind
from schemas.money import Money
from schemas.money_back import DisputeNotified
from schemas.settlement_keys import of_line

Notified = NotificationReceived | DisputeNotified
MOST = 500  # breaks of one code in one slice: more are one cause, and a person's
_NOT_SETTLED = "not_settled"
_OF: dict[str, OperationKind | None] = {"c": None, "r": "refund", "R": "refund"}
_ASKED = ("pending", "unknown")  # the executor's words about which it may be told more


def notified(
    state: Reconciliation, reference: Reference, tallies: Sequence[Tally], found: Verdict, item: str
) -> Notified | None:
    """What the executor is told of a break; None where it is told nothing, or has been told."""
    if item in state.told:
        return None
    match found.code:
        case "MISSING_AT_PSP" if reference.kind in ("c", "r"):
            return _about(reference, "pending", abs(found.amount), found.currency, "", _NOT_SETTLED)
        case "STATUS_MISMATCH" if _outcome(tallies) in _ASKED:
            return _of_line(state, reference, tallies, found)
        case "MISSING_INTERNAL" | "UNEXPECTED_REVERSAL":
            return _of_line(state, reference, tallies, found)
    return None


def events(changes: Iterable[Change]) -> Iterator[Notified]:
    return (change.event for change in changes if isinstance(change, Told))


def _outcome(tallies: Sequence[Tally]) -> str | None:
    return next((tally.outcome for tally in tallies if tally.outcome), None)


def _of_line(state: Reconciliation, reference: Reference, tallies: Sequence[Tally], found: Verdict) -> Notified | None:
    lines = [line for tally in tallies for line in tally.lines]
    named = next((state.named[line.digest] for line in lines if line.digest in state.named), None)
    if named is None or not found.amount:
        return None
    if reference.kind in DISPUTES:
        return _of_dispute(state, reference, tallies, found.currency, named)
    if reference.kind not in _OF or not _is_ours(reference, named.psp_ref, lines[0].digest):
        return None
    status: Literal["reversed", "succeeded"] = "reversed" if reference.kind == "R" else "succeeded"
    return _about(reference, status, abs(found.amount), found.currency, named.psp_ref, None)


def _is_ours(reference: Reference, psp_ref: str, digest: int) -> bool:
    """Whether the line names a call of ours. What only the PSP has a name for nobody here can look up."""
    return reference.key not in (keys.theirs(reference.psp, psp_ref), of_line(NO_KEY, digest))


def _about(
    reference: Reference,
    status: Literal["succeeded", "pending", "reversed"],
    minor: int,
    currency: str,
    psp_ref: str,
    code: str | None,
) -> NotificationReceived:
    return NotificationReceived(
        reference=reference.key,
        psp=reference.psp,
        notification_id=_named(reference),
        source="settlement_line",
        status=status,
        amount=Money(minor, currency),
        psp_reference=psp_ref,
        code=code,
        about=_OF[reference.kind],
    )


def _of_dispute(
    state: Reconciliation, reference: Reference, tallies: Sequence[Tally], currency: str, named: Named
) -> DisputeNotified | None:
    """A dispute is told of the charge of its order, by the name that the PSP gives it."""
    order = order_of(tallies, state.named)
    charge = next((call for call in charges_of(order) if call in state.captured), None) if order else None
    if charge is None or not named.gross or keys.theirs(reference.psp, named.psp_ref) != reference.key:
        return None
    return DisputeNotified(
        reference=charge,
        psp=reference.psp,
        notification_id=_named(reference),
        source="settlement_line",
        dispute_reference=named.psp_ref,
        stage=1,
        status="won" if reference.kind == "B" else "opened",
        amount=Money(abs(named.gross), currency),
        fee=Money(abs(named.fee), currency) if named.fee else None,
        reason="settled",
    )


def _named(reference: Reference) -> str:
    return f"settled-{keys.named('told', str(reference))}"
