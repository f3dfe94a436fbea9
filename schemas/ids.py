"""Names that come from outside: what each may look like, checked once at the door."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from schemas.text import Refusal, refuse_card_number

_ID = r"^[A-Za-z0-9._~-]{1,64}$"


_Id = Annotated[str, StringConstraints(pattern=_ID), Refusal("invalid_id", "1 to 64 letters, digits or any of . _ ~ -")]

CheckoutId = _Id
PaymentOrderId = _Id
SellerAccount = _Id
BuyerAccount = _Id
Owner = _Id
EndpointId = _Id

Token = Annotated[
    str,
    StringConstraints(pattern=r"^[!-~]{1,128}$"),
    Refusal("invalid_token", "1 to 128 printable ASCII characters without spaces"),
    AfterValidator(refuse_card_number),
]
