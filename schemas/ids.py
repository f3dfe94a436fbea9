"""Formats of ids from outside, checked once at the door."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from schemas.text import Refusal, refuse_card_number

_ID = r"^[A-Za-z0-9._~-]{1,64}$"
# Clients and proxies remove `.` and `..` from a path (RFC 3986, 5.2.4), so such an id could not be read back.
_NEW_ID = r"^(?:[A-Za-z0-9._~-]*[A-Za-z0-9_~-][A-Za-z0-9._~-]*|\.{3,})$"
NEW_ID = "1 to 64 letters, digits or any of . _ ~ -, and not . or .."

_Id = Annotated[str, StringConstraints(pattern=_ID), Refusal("invalid_id", "1 to 64 letters, digits or any of . _ ~ -")]

CheckoutId = _Id
PaymentOrderId = _Id
SellerAccount = _Id
BuyerAccount = _Id
Owner = _Id
EndpointId = _Id
Subject = _Id  # of an operator's act: what it is about
OperationId = _Id  # of a capture, a void or a refund

# Ids that doors accept; events may hold older ones.
NewId = Annotated[str, StringConstraints(pattern=_NEW_ID, max_length=64), Refusal("invalid_id", NEW_ID)]
_new_id = re.compile(_NEW_ID).fullmatch


OWN_PREFIX = "auto~"  # of operations without a request: automatic captures


def _not_ours(text: str) -> str:
    if text.startswith(OWN_PREFIX):
        raise PydanticCustomError("reserved_id", "an id must not begin with auto~")
    return text


NewOperationId = Annotated[NewId, AfterValidator(_not_ours)]


def is_new_id(text: str) -> bool:
    """Whether doors accept the text as a new id."""
    return len(text) <= 64 and _new_id(text) is not None


Token = Annotated[
    str,
    StringConstraints(pattern=r"^[!-~]{1,128}$"),
    Refusal("invalid_token", "1 to 128 printable ASCII characters without spaces"),
    AfterValidator(refuse_card_number),
]
