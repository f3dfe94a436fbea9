"""A payment token → the behaviour of its card: scheme, decline, fault at the first try."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

ON_PAGE = "on_page"  # in place of a token: the buyer pays on a page
SCHEMES = ("visa", "mastercard", "amex", "discover")


class Fault(Enum):
    """A way in which an answer fails. The value is its name in the control API."""

    SLOW = "slow"
    TOO_MANY = "429"
    UNAVAILABLE = "503"
    ERROR_CHARGED = "500_charged"
    ERROR_UNCHARGED = "500_uncharged"
    TIMEOUT_CHARGED = "timeout_charged"
    TIMEOUT_UNCHARGED = "timeout_uncharged"
    RESET_CHARGED = "reset_charged"
    GARBAGE = "garbage"


class Ending(Enum):
    """The end of an operation that the books allow. The value is its name in the control API."""

    DECLINED = "declined"
    PENDING = "pending"
    PENDING_DECLINED = "pending_declined"


class PageEnding(Enum):
    """How the PSP tells of a payment on its page. The value is its name in the control API."""

    TOLD_FIRST = "told_first"  # the webhook has arrived before the buyer is sent back
    SILENT = "silent"  # no webhook


class TransferEnding(Enum):
    """What becomes of a transfer that is not paid, or of which nobody is told. The value is its name in the control API."""

    REJECTED = "rejected"  # at once
    FAILED = "failed"  # after it was accepted
    RETURNED = "returned"  # a day after it was paid
    SILENT = "silent"  # paid, without a webhook


class BankEnding(Enum):
    """What becomes of a line of a bank file that is not paid, or of which nobody is told."""

    REJECTED = "rejected"  # at once
    FAILED = "failed"  # after it was accepted
    RETURNED = "returned"  # a day after it was paid
    SILENT = "silent"  # paid, and no report names it
    CANCELLED = "cancelled"  # at once


class BankFault(Enum):
    """A way in which a bank treats a whole file badly. The value is its name in the control API."""

    REFUSED = "refused"  # nothing of it is done
    LATE = "late"  # an hour later
    TWICE = "twice"  # each report
    OUT_OF_ORDER = "out_of_order"  # the last report first
    NEVER = "never"  # done, and not told
    WRONG_AMOUNT = "wrong_amount"  # its reports name other amounts than the file does
    ONLY_REJECTED = "only_rejected"  # its reports name no line that is done


UNCHARGED = frozenset({Fault.TOO_MANY, Fault.UNAVAILABLE, Fault.ERROR_UNCHARGED, Fault.TIMEOUT_UNCHARGED})
"""Nothing is kept, not even the key."""

ANSWER_LOST = frozenset({Fault.ERROR_CHARGED, Fault.TIMEOUT_CHARGED, Fault.RESET_CHARGED, Fault.GARBAGE})
"""The charge is kept, the caller does not learn of it, and look-ups may miss it while the PSP settles."""


@dataclass(frozen=True, slots=True)
class Card:
    """The behaviour of a card. With `decline_code` None the charge succeeds."""

    scheme: str | None
    decline_code: str | None = None
    first_try: Fault | None = None
    pending: str | None = None  # what the PSP waits for before it decides
    only_at: str | None = None  # the one PSP that does not decline it


_FAULT_TOKENS = {
    f"tok_{fault.value}{'_once' if fault in (Fault.TOO_MANY, Fault.UNAVAILABLE) else ''}": fault for fault in Fault
}
PENDING_S: Mapping[str, float] = {"3ds": 3.0, "review": 30.0, "buyer": 1800.0}
"""How long the PSP takes to decide, by the clock that can be moved."""

OPERATION_PENDING_S = 3.0
OPERATION_DECLINED = "refused_by_issuer"

PAGE_EXPIRED = "page_expired"
BUYERS_CHOICE = Card(None, decline_code=PAGE_EXPIRED, pending="buyer")
"""The card of a charge on a page, until the buyer has paid with one."""

_PENDING = re.compile(r"tok_(3ds|review)(?:_declined_([a-z0-9_]{1,48}))?")
_ONLY = re.compile(r"tok_only_([a-z]{1,32})")
_DECLINED = re.compile(r"tok_declined_([a-z0-9_]{1,48})")


@lru_cache(4096)
def read_token(token: str) -> Card:
    """The card of a token. The token of a fault may end in `_<scheme>`; without it the card is a Visa."""
    name, scheme = _split_scheme(token)
    if fault := _FAULT_TOKENS.get(name):
        return Card(scheme or "visa", first_try=fault)
    if token.removeprefix("tok_") in SCHEMES and token.startswith("tok_"):
        return Card(token.removeprefix("tok_"))
    if declined := _DECLINED.fullmatch(token):
        return Card("visa", decline_code=declined[1])
    if pending := _PENDING.fullmatch(token):
        return Card("visa", decline_code=pending[2], pending=pending[1])
    if only := _ONLY.fullmatch(token):
        return Card("visa", only_at=only[1])
    return Card(None, decline_code="invalid_token")


def waits_for(token: str) -> str:
    """What a pending charge of this token's card waits for."""
    if token == ON_PAGE:
        return "buyer"
    return read_token(token).pending or "review"


def _split_scheme(token: str) -> tuple[str, str | None]:
    name, _, scheme = token.rpartition("_")
    return (name, scheme) if scheme in SCHEMES else (token, None)
