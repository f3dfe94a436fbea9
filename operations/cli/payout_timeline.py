"""A pay-out's id, call or provider's reference → all that each store and the provider say of it, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC

from operations.auditor.engine.psps import found_transfers
from operations.auditor.engine.stores import Stores
from operations.cli.moment import PAID_OUT, Moment, in_order, letters
from operations.cli.timeline_settled import SettledPart, settled
from operations.cli.timeline_settled import moments as settlings
from psp.payout_port import TransferReference
from psp.port import ListingError
from psp.registry import make_providers
from schemas.money import Money
from topics.settings import Settings


@dataclass(frozen=True, slots=True)
class PayoutTimeline:
    """`turn`: whose turn it is, if anybody's."""

    payout_id: str
    turn: str
    moments: tuple[Moment, ...]
    settled: tuple[SettledPart, ...] = ()


def payout_timeline(settings: Settings, given: str) -> PayoutTimeline | None:
    """None where no store knows such a pay-out. Errors: psycopg.OperationalError while a store is away."""
    with Stores(settings) as stores:
        payout_id = _resolve(stores, given)
        if payout_id is None:
            return None
        moments = [
            *_doors(stores, payout_id),
            *_payouts(stores, payout_id),
            *_risk(stores, payout_id),
            *_executor(stores, payout_id),
            *_wallet(stores, payout_id),
            *_ledger(stores, payout_id),
            *letters(stores, [payout_id]),
            *_provider(stores, settings, payout_id),
        ]
        parts = settled(settings, stores, [payout_id])
        whose = _turn(stores, settings, payout_id)
    return PayoutTimeline(payout_id, whose, tuple(in_order([*moments, *settlings(parts)])), tuple(parts))


def _turn(stores: Stores, settings: Settings, payout_id: str) -> str:
    from operations.cli.payout_rows import approvals, payouts
    from operations.cli.payout_turn import refused, turn

    if found := payouts(settings, "WHERE payout_id = %s", [payout_id]):
        return turn(found[0], approvals(settings, payout_id))
    refusals = stores.rows("payouts", "SELECT code FROM refusal_view WHERE payout_id = %s ORDER BY at", [payout_id])
    return refused("refused", refusals[-1][0]) if refusals else "waits for payouts, which has not read it yet"


def _resolve(stores: Stores, given: str) -> str | None:
    for room, statement in (
        ("payouts", "SELECT payout_id FROM payout_view WHERE payout_id = %s"),
        ("executor", "SELECT payout_id FROM call_view WHERE call_id = %s AND payout_id IS NOT NULL"),
        ("executor", "SELECT payout_id FROM payout_view WHERE provider_reference = %s"),
        ("doors", "SELECT operation_id FROM operation_id_view WHERE kind = 'payout' AND operation_id = %s"),
        ("payouts", "SELECT payout_id FROM refusal_view WHERE payout_id = %s LIMIT 1"),
    ):
        rows = stores.rows(room, statement, [given])
        if rows:
            return str(rows[0][0])
    return None


def _doors(stores: Stores, payout_id: str) -> Iterator[Moment]:
    for kind, owner, at in stores.rows(
        "doors",
        "SELECT kind, owner, accepted_at FROM operation_id_view WHERE kind LIKE 'payout%%' AND operation_id = %s",
        [payout_id],
    ):
        what = "request accepted" if kind == "payout" else "cancellation accepted"
        yield Moment(at, "doors", what, payout_id, f"from {owner}")


def _payouts(stores: Stores, payout_id: str) -> Iterator[Moment]:
    for status, detail, at in stores.rows(
        "payouts", "SELECT status, detail, at FROM history_view WHERE payout_id = %s ORDER BY id", [payout_id]
    ):
        yield Moment(at, "payouts", status, payout_id, detail or "")
    for approver, decision, reason, why_not, at in stores.rows(
        "payouts",
        "SELECT approver, decision, reason, why_not, at FROM approval_view WHERE payout_id = %s ORDER BY at",
        [payout_id],
    ):
        effect = f", no effect: {why_not}" if why_not else ""
        yield Moment(at, "payouts", decision, payout_id, f"by {approver}{effect}: {reason}")
    for number, provider, deadline, outcome, code, released, became in stores.rows(
        "payouts",
        "SELECT release_no, provider, deadline, outcome, code, released_at, outcome_at FROM release_view"
        " WHERE payout_id = %s ORDER BY release_no",
        [payout_id],
    ):
        yield Moment(
            released, "payouts", f"released ({number})", payout_id, f"to {provider} before {deadline:%H:%M:%S}"
        )
        if outcome == "not_sent":
            yield Moment(became, "payouts", f"not sent ({number})", payout_id, code or "")
    for code, detail, at in stores.rows(
        "payouts", "SELECT code, detail, at FROM refusal_view WHERE payout_id = %s", [payout_id]
    ):
        yield Moment(at, "payouts", f"refused: {code}", payout_id, detail)


def _risk(stores: Stores, payout_id: str) -> Iterator[Moment]:
    for number, outcome, rule, score, at in stores.rows(
        "risk",
        "SELECT screen_no, outcome, rule, score, decided_at FROM payout_screening_view WHERE payout_id = %s",
        [payout_id],
    ):
        yield Moment(at, "risk", outcome, payout_id, f"screening {number}: rule {rule}, score {score}")
    for decision, actor, counts, at in stores.rows(
        "risk",
        "SELECT decision, actor, counts, reviewed_at FROM review_view WHERE about = 'payout' AND subject = %s",
        [payout_id],
    ):
        late = "" if counts else ", after another review: no effect"
        yield Moment(at, "risk", f"reviewed: {decision}", payout_id, f"by {actor}{late}")


# `kind <> 'charge'`: the index of subjects has no others.
CALLS = (
    "SELECT call_id, kind, state, act, act_no, send_no, first_sent_at, due_at FROM call_view"
    " WHERE subject = %s AND kind <> 'charge' AND payout_id IS NOT NULL"
)


def _executor(stores: Stores, payout_id: str) -> Iterator[Moment]:
    for state, provider, minor, currency, code, reference, created, changed in stores.rows(
        "executor",
        "SELECT state, provider, sent_minor, sent_currency, code, provider_reference, created_at, changed_at FROM payout_view"
        " WHERE payout_id = %s",
        [payout_id],
    ):
        yield Moment(created, "executor", "queued", payout_id, f"{Money(minor, currency)} at {provider}")
        if state != "calling":
            yield Moment(changed, "executor", state, payout_id, ", ".join(part for part in (reference, code) if part))
    for call_id, kind, call_state, act, acts, sends, sent, due in stores.rows(
        "executor",
        CALLS,
        [payout_id],
    ):
        if sent is not None:
            yield Moment(sent, "executor", PAID_OUT, payout_id, f"call {call_id}, {sends} sends in {acts} acts")
        if call_state != "ended":
            yield Moment(due, "executor", f"{kind} call {call_state}", payout_id, f"to {act} next; call {call_id}")


def _wallet(stores: Stores, payout_id: str) -> Iterator[Moment]:
    for kind, seller, reserved, amount, currency, after, at in stores.rows(
        "wallet",
        "SELECT kind, seller_account, to_reserved, amount, currency, available_after, at FROM movement_view"
        " WHERE payment_order_id = %s AND kind IN ('reserved', 'released', 'settled', 'returned')",
        [payout_id],
    ):
        detail = f"{Money(abs(amount or reserved), currency)} of {seller}, {Money(after, currency)} available after it"
        yield Moment(at, "wallet", kind, payout_id, detail)
    for code, placed in stores.rows(
        "wallet", "SELECT code, placed_at FROM reservation_view WHERE payout_id = %s AND code IS NOT NULL", [payout_id]
    ):
        yield Moment(placed, "wallet", "not reserved", payout_id, code)


def _ledger(stores: Stores, payout_id: str) -> Iterator[Moment]:
    for template, account, direction, amount, currency, at in stores.rows(
        "ledger",
        "SELECT template, account, direction, amount, currency, posted_at FROM entry_view"
        " WHERE payment_order_id = %s AND template LIKE 'payout%%' ORDER BY journal_id, line",
        [payout_id],
    ):
        detail = f"{'Dr' if direction == 'debit' else 'Cr'} {account} {Money(amount, currency)}"
        yield Moment(at, "ledger", f"posted ({template})", payout_id, detail)


def _provider(stores: Stores, settings: Settings, payout_id: str) -> Iterator[Moment]:
    """The provider's own record of every call, asked for now by our references."""
    providers = make_providers(settings.http_providers)
    for name, call_id, minor, currency, at in stores.rows(
        "executor",
        "SELECT p.provider, c.call_id, p.sent_minor, p.sent_currency, c.created_at FROM payout_view p"
        " JOIN call_view c ON c.subject = p.payout_id AND c.kind <> 'charge' WHERE p.payout_id = %s AND c.kind = 'payout'",
        [payout_id],
    ):
        if (provider := providers.get(name)) is None:
            continue
        try:
            for one in found_transfers(provider, TransferReference(call_id, Money(minor, currency))):
                told = [f"{name} says {one.amount}", one.provider_reference, one.code or ""]
                detail = ", ".join(part for part in told if part)
                yield Moment(one.created_at.astimezone(UTC), "provider", one.status, payout_id, detail)
        except ListingError as error:
            yield Moment(at, "provider", "no answer", payout_id, str(error))
