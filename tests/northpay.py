"""A charge in Northpay's own words."""

from __future__ import annotations


def charge(reference: str, **changes: object) -> dict[str, object]:
    """12.34 EUR by Visa, succeeded."""
    told = {
        "id": "ch_1",
        "status": "succeeded",
        "decline_code": None,
        "network": "visa",
        "amount": 1234,
        "currency": "eur",
        "reference": reference,
        "metadata": {"order": "order-1"},
        "created": 1_700_000_000,
    }
    return {**told, **changes}
