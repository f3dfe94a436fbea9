"""What the executor did behind the charges of some orders, its calls, and what the PSPs say of them now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC

from operations.auditor.engine.psps import found_of
from operations.auditor.engine.stores import Stores
from operations.cli.moment import SENT, Moment
from psp.port import Kind, Listed, ListedCharge, ListedDispute, ListingError, Psp
from schemas.envelope import charge_call_id
from schemas.money import Money


def behind(stores: Stores, order_ids: Sequence[str]) -> Iterator[Moment]:
    """Operations and disputes: when each came, and how it stands."""
    for order_id, kind, id_, minor, currency, state, turn, code, reference, checks, placed, changed in stores.rows(
        "executor",
        "SELECT payment_order_id, kind, operation_id, amount_minor, currency, state, turn, code, psp_reference, checks,"
        " placed_at, changed_at FROM operation_view WHERE payment_order_id = ANY(%s) AND kind <> 'charge' ORDER BY seq",
        [list(order_ids)],
    ):
        yield Moment(placed, "executor", f"{kind} queued", order_id, f"{id_}, {Money(minor, currency)}")
        if state != "waiting":
            again = f"turn {turn}" if turn > 1 else ""
            told = [id_, again, f"asked about {_times(checks)}" if checks else "", reference, code]
            yield Moment(changed, "executor", f"{kind} {state}", order_id, ", ".join(part for part in told if part))
    for order_id, id_, stage, state, minor, currency, reference, checks, changed in stores.rows(
        "executor",
        "SELECT payment_order_id, dispute_id, stage, state, amount_minor, currency, dispute_reference, checks, changed_at"
        " FROM dispute_view WHERE payment_order_id = ANY(%s) ORDER BY placed_at, stage",
        [list(order_ids)],
    ):
        told = [id_, f"stage {stage}", str(Money(minor, currency)), reference]
        told += [f"asked about {_times(checks)}"] if checks else []
        yield Moment(changed, "executor", f"dispute {state}", order_id, ", ".join(told))


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


_CHARGED = "SELECT payment_order_id, attempt_no FROM attempt_view WHERE payment_order_id = ANY(%s)"
_CALL = "SELECT payment_order_id, call_id, kind, state, act, act_no, send_no, created_at, first_sent_at, due_at FROM call_view"
# Two indexes: that of the calls' ids has all, that of their subjects has no charges.
CALLS = f"""
{_CALL} WHERE call_id = ANY(%(charges)s) AND payment_order_id = ANY(%(orders)s)
UNION ALL {_CALL} WHERE subject = ANY(%(orders)s) AND kind <> 'charge' AND payment_order_id IS NOT NULL
"""


def calls(stores: Stores, order_ids: Sequence[str]) -> Iterator[Moment]:
    """Sends and asks. A check only asks, so it is never sent."""
    charges = [
        charge_call_id(order_id, number)
        for order_id, last in stores.rows("executor", _CHARGED, [list(order_ids)])
        for number in range(1, last + 1)
    ]
    for order_id, call_id, kind, state, act, acts, sends, created, sent, due in stores.rows(
        "executor", CALLS, {"charges": charges, "orders": list(order_ids)}
    ):
        name = "" if kind == "charge" else f"{kind} "
        if sent is not None:
            yield Moment(sent, "executor", f"{name}{SENT}", order_id, f"call {call_id}, {sends} sends in {acts} acts")
        elif kind == "check":
            yield Moment(created, "executor", "the PSP is asked", order_id, f"call {call_id}, {acts} acts")
        if state != "ended":
            yield Moment(due, "executor", f"{name}call {state}", order_id, f"to {act} next; call {call_id}")


def at_psps(stores: Stores, psps: Mapping[str, Psp], order_ids: Sequence[str]) -> Iterator[Moment]:
    """The PSPs' own record, asked for now by our references."""
    for order_id, name, kind, reference, changed_at in stores.rows(
        "executor",
        "SELECT payment_order_id, psp, 'charge', call_id, changed_at FROM attempt_view WHERE payment_order_id = ANY(%(orders)s)"
        " UNION ALL SELECT payment_order_id, psp, kind, call_id, changed_at FROM operation_view"
        " WHERE payment_order_id = ANY(%(orders)s) AND seq > 0 AND state <> 'waiting'"
        " UNION ALL SELECT DISTINCT ON (dispute_reference) payment_order_id, psp, 'dispute', dispute_reference, changed_at"
        " FROM dispute_view WHERE payment_order_id = ANY(%(orders)s)",
        {"orders": list(order_ids)},
    ):
        try:
            for _, entries in found_of(psps, [(name, kind, reference)]):
                yield from (_told(name, kind, each, order_id) for each in entries)
        except ListingError as error:
            yield Moment(changed_at, "PSP", "no answer", order_id, str(error))


def _told(name: str, kind: Kind, each: Listed, order_id: str) -> Moment:
    if isinstance(each, ListedDispute):
        told = f"{each.amount}, stage {each.stage}, {each.reason}, {each.dispute_reference}"
    else:
        told = f"{each.amount}, {each.scheme or 'no scheme'}, {each.psp_reference}"
    what = each.status if isinstance(each, ListedCharge) else f"{kind} {each.status}"
    return Moment(each.created_at.astimezone(UTC), "PSP", what, order_id, f"{name} says {told}")
