"""(a request for a capture, void or refund, the order's row) → an early refusal, if one is certain. Pure.

A courtesy to the caller: payments and the executor decide later, by their own state.
"""

from __future__ import annotations

from producers.problems import Problem
from producers.reading import Row
from schemas.money import Money
from schemas.requests import CaptureRequest, FieldError, RefundRequest, VoidRequest

NEVER_CAPTURED = ("NOT_STARTED", "FAILED")


def refusal(asked: CaptureRequest | VoidRequest | RefundRequest, order: Row | None) -> Problem | None:
    if order is None:
        return _problem("not_found", "payment_order_id", "there is no such order, or it is another owner's")
    status: str = order.get("payment_order_status", "NOT_STARTED")
    currency = order.get("currency")
    if not isinstance(asked, VoidRequest) and currency is not None and asked.currency != currency:
        return _problem("wrong_currency", "currency", f"the order is in {currency}")
    if isinstance(asked, RefundRequest):
        return _of_refund(asked.gross, status, order)
    if status in NEVER_CAPTURED:
        return _problem("not_authorised", "payment_order_id", f"the order is {_shown(status, order)}")
    if isinstance(asked, CaptureRequest):
        return _of_capture(asked.gross, status, order)
    if _is_closed(status, order):
        return _problem("nothing_to_void", "payment_order_id", "nothing is left that is authorised and not captured")
    return _by_itself(order)


def _of_capture(amount: Money, status: str, order: Row) -> Problem | None:
    if order["capture"] == "automatic":
        return _by_itself(order)
    if _is_closed(status, order):
        return _problem("not_authorised", "payment_order_id", "nothing is left that is authorised and not captured")
    is_authorised = order["detail"] in ("authorised", "partly_captured")
    left = Money(order["amount_capturable"] if is_authorised else order["gross"], amount.currency)
    if amount > left:
        return _problem("exceeds_authorised", "amount", f"{left} can still be captured")
    return None


def _by_itself(order: Row) -> Problem | None:
    if order["capture"] == "automatic":
        return _problem("not_authorised", "payment_order_id", "the order is captured automatically")
    return None


def _of_refund(amount: Money, status: str, order: Row) -> Problem | None:
    if status in NEVER_CAPTURED:
        return _problem("not_captured", "payment_order_id", f"the order is {_shown(status, order)}")
    if not _is_closed(status, order):
        return None  # a capture may be open: the executor alone knows
    left = order["amount_captured"] - order["amount_refund_taken"]
    if amount.minor <= left - order["amount_disputed"]:
        return None
    if amount.minor <= left:
        return _problem("order_disputed", "payment_order_id", "what is left of the order is disputed")
    rest = Money(max(left, 0), amount.currency)
    return _problem("exceeds_refundable", "amount", f"{rest} can still be refunded")


def _is_closed(status: str, order: Row) -> bool:
    return status == "SUCCESS" and order["detail"] != "partly_captured"


def _shown(status: str, order: Row) -> str:
    return f"{status} ({order['detail']})" if order.get("detail") else status


def _problem(code: str, field: str, why: str) -> Problem:
    return Problem(code, f"{field}: {why}", [FieldError(field, code, why)])
