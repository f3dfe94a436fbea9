"""A settlement of every kind of row that all formats know, by hand."""

from __future__ import annotations

from dataclasses import replace

from simulator.settlements.model import Fee, Row, Settlement, with_payout

NOON_US = 1_795_953_600_000_000  # 2026-11-29T12:00:00Z
CLOSED_US = 1_796_000_400_000_000 - 3_600_000_000  # 2026-11-30T00:00:00Z

CAPTURE = Row(
    kind="capture",
    at=NOON_US,
    currency="EUR",
    gross=10_000,
    net_currency="EUR",
    net=9_860,
    fee=Fee(commission=90, markup=20, scheme=10, interchange=20),
    our_ref="0d6f3a1e5b7c49d28a90c4e1f2b3a495",
    psp_ref="PSP0001",
    charge_our_ref="0d6f3a1e5b7c49d28a90c4e1f2b3a495",
    charge_psp_ref="PSP0001",
    order_ref="order-1",
    scheme="visa",
)
REFUND = replace(
    CAPTURE,
    kind="refund",
    gross=-2_500,
    net=-2_510,
    fee=Fee(commission=10),
    our_ref="91c2e4f6a8b04d3c9e7f5a1b2c3d4e5f",
    psp_ref="R_PSP0002",
)
CHARGEBACK = replace(
    CAPTURE, kind="chargeback", gross=-4_000, net=-5_500, fee=Fee(commission=1_500), our_ref="", psp_ref="D_PSP0003"
)
WON = replace(CHARGEBACK, kind="chargeback_reversed", gross=4_000, net=4_500, fee=Fee(commission=-500))
TAKEN_BACK = replace(CAPTURE, gross=-10_000, net=-9_860, fee=CAPTURE.fee.returned())
MONTHLY = Row("fee", NOON_US, "EUR", 0, "EUR", -250, Fee(commission=250))
EXCHANGED = replace(
    CAPTURE,
    currency="SEK",
    gross=25_000,
    net=2_128,
    fee=Fee(commission=46),
    rate="0.08694",
    psp_ref="PSP0009",
    charge_psp_ref="PSP0009",
    order_ref='order,"9"',
)
ROWS = (CAPTURE, REFUND, CHARGEBACK, WON, MONTHLY, EXCHANGED, TAKEN_BACK, CAPTURE)


def a_settlement(rows: tuple[Row, ...] = ROWS, number: int = 1001, currency: str = "EUR") -> Settlement:
    made = Settlement("southpay", "southpay-account", number, currency, "2026-11-29", CLOSED_US, ())
    return replace(made, rows=list(with_payout(rows, currency, CLOSED_US - 1, made.trace)))
