"""A PSP's replies about operations and disputes ⇄ JSON on the call's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from schemas import times
from schemas.money import Money

DisputeStatus = Literal["inquiry", "opened", "won", "lost"]
DISPUTE_STATUSES: Mapping[str, DisputeStatus] = {
    "inquiry": "inquiry",
    "opened": "opened",
    "won": "won",
    "lost": "lost",
}


@dataclass(frozen=True, slots=True)
class Captured:
    """A yes to a charge or capture: the money is taken. Reference and amount are the charge's or the capture's."""

    psp_reference: str
    scheme: str  # visa | mastercard | amex | discover | other
    amount: Money

    def to_json(self) -> dict[str, object]:
        return {
            "reply": "captured",
            "psp_reference": self.psp_reference,
            "scheme": self.scheme,
            "amount": self.amount.amount,
            "currency": self.amount.currency,
        }


@dataclass(frozen=True, slots=True)
class Authorised:
    """A yes to a charge that is to be captured later: the money is reserved until `expires_at`."""

    psp_reference: str
    scheme: str
    amount: Money
    expires_at: datetime  # in UTC

    def to_json(self) -> dict[str, object]:
        return {
            "reply": "authorised",
            "psp_reference": self.psp_reference,
            "scheme": self.scheme,
            **self.amount.wire(),
            "expires_at": self.expires_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Voided:
    """A yes to a void: `amount`, which the PSP alone determines, is released."""

    psp_reference: str
    amount: Money

    def to_json(self) -> dict[str, object]:
        return {"reply": "voided", "psp_reference": self.psp_reference, **self.amount.wire()}


@dataclass(frozen=True, slots=True)
class Refunded:
    """A yes to a refund: the requested amount was returned to the buyer."""

    psp_reference: str
    amount: Money

    def to_json(self) -> dict[str, object]:
        return {"reply": "refunded", "psp_reference": self.psp_reference, **self.amount.wire()}


@dataclass(frozen=True, slots=True)
class Reversed:
    """A charge, capture or refund was done, and the PSP has reversed it since. The PSP may do it again."""

    psp_reference: str
    amount: Money

    def to_json(self) -> dict[str, object]:
        return {"reply": "reversed", "psp_reference": self.psp_reference, **self.amount.wire()}


@dataclass(frozen=True, slots=True)
class DisputeState:
    """The status of a stage of a dispute. `fee` is the PSP's fee; for a won stage, the part of the fee that it returns."""

    dispute_reference: str
    stage: int  # 1; 2 for a second chargeback or pre-arbitration
    status: DisputeStatus
    amount: Money
    fee: Money | None
    reason: str
    due_by: datetime | None  # in UTC: the last time for evidence

    def to_json(self) -> dict[str, object]:
        return {
            "reply": "dispute",
            "dispute_reference": self.dispute_reference,
            "stage": self.stage,
            "status": self.status,
            **self.amount.wire(),
            "fee": None if self.fee is None else self.fee.wire(),
            "reason": self.reason,
            "due_by": None if self.due_by is None else self.due_by.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Declined:
    """A final no: the same operation sent again gets the same answer."""

    code: str
    psp_reference: str | None = None
    scheme: str | None = None

    def to_json(self) -> dict[str, object]:
        return {"reply": "declined", "code": self.code, "psp_reference": self.psp_reference, "scheme": self.scheme}


@dataclass(frozen=True, slots=True)
class Pending:
    """The PSP has the operation and has not decided yet: ask, or wait for its webhook; never send. A charge may wait for the
    buyer, who pays on the PSP's page until it expires.
    """

    psp_reference: str
    reason: str
    redirect_url: str | None = None
    expires_at: datetime | None = None  # of the page, in UTC

    def to_json(self) -> dict[str, object]:
        told: dict[str, object] = {"reply": "pending", "psp_reference": self.psp_reference, "reason": self.reason}
        if self.redirect_url is None:
            return told
        until = None if self.expires_at is None else self.expires_at.isoformat()
        return {**told, "redirect_url": self.redirect_url, "expires_at": until}


@dataclass(frozen=True, slots=True)
class NothingHappened:
    """The PSP promises that this send did nothing: the operation may be sent again with the same key, after `retry_after_s`."""

    reason: str
    retry_after_s: float | None = None

    def to_json(self) -> dict[str, object]:
        return {"reply": "nothing_happened", "reason": self.reason, "retry_after_s": self.retry_after_s}


@dataclass(frozen=True, slots=True)
class Unknown:
    """The operation may or may not have been done. Ask, after `retry_after_s`; never send."""

    reason: str
    retry_after_s: float | None = None

    def to_json(self) -> dict[str, object]:
        return {"reply": "unknown", "reason": self.reason, "retry_after_s": self.retry_after_s}


@dataclass(frozen=True, slots=True)
class NotThere:
    """The PSP does not know our reference. Proof only if its settling time has passed since the last send."""

    def to_json(self) -> dict[str, object]:
        return {"reply": "not_there"}


Yes = Captured | Authorised | Voided | Refunded
SendReply = Yes | Reversed | Declined | Pending | NothingHappened | Unknown
FindReply = Yes | Reversed | DisputeState | Declined | Pending | Unknown | NotThere
"""A failed question never says that nothing happened."""
Reply = Yes | Reversed | DisputeState | Declined | Pending | NothingHappened | Unknown | NotThere


def reply_from_json(stored: Mapping[str, object]) -> Reply:
    """The reply that `to_json` stored. Errors: ValueError for anything else."""
    try:
        return _read_stored(stored)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a stored reply: {error}") from error


def _read_stored(stored: Mapping[str, object]) -> Reply:
    match stored["reply"]:
        case "captured":
            return Captured(_text(stored["psp_reference"]), _text(stored["scheme"]), _money(stored))
        case "authorised":
            expires_at = times.instant(_text(stored["expires_at"]))
            return Authorised(_text(stored["psp_reference"]), _text(stored["scheme"]), _money(stored), expires_at)
        case "voided":
            return Voided(_text(stored["psp_reference"]), _money(stored))
        case "refunded":
            return Refunded(_text(stored["psp_reference"]), _money(stored))
        case "reversed":
            return Reversed(_text(stored["psp_reference"]), _money(stored))
        case "dispute":
            return _dispute(stored)
        case "declined":
            return Declined(
                _text(stored["code"]), _text_or_none(stored["psp_reference"]), _text_or_none(stored["scheme"])
            )
        case "pending":
            until = _text_or_none(stored.get("expires_at"))
            return Pending(
                _text(stored["psp_reference"]),
                _text(stored["reason"]),
                _text_or_none(stored.get("redirect_url")),
                None if until is None else times.instant(until),
            )
        case "nothing_happened":
            return NothingHappened(_text(stored["reason"]), _seconds_or_none(stored["retry_after_s"]))
        case "unknown":
            return Unknown(_text(stored["reason"]), _seconds_or_none(stored.get("retry_after_s")))
        case "not_there":
            return NotThere()
        case other:
            raise ValueError(f"not a stored reply: {other!r}")


def _dispute(stored: Mapping[str, object]) -> DisputeState:
    stage, fee, due_by = stored["stage"], stored["fee"], _text_or_none(stored["due_by"])
    if type(stage) is not int:
        raise TypeError(f"{stage!r} is no stage")
    return DisputeState(
        _text(stored["dispute_reference"]),
        stage,
        DISPUTE_STATUSES[_text(stored["status"])],
        _money(stored),
        None if fee is None else _money(fee),
        _text(stored["reason"]),
        None if due_by is None else times.instant(due_by),
    )


def _money(stored: object) -> Money:
    if not isinstance(stored, Mapping):
        raise TypeError(f"{stored!r} is no amount")
    return Money.from_wire(_text(stored["amount"]), _text(stored["currency"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _seconds_or_none(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number of seconds")
    return float(value)
