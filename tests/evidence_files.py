"""Reports beside those that settle, as their senders write them, made anew: rows → bytes."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence

from tests.settlement_files import call, csv_line
from tests.unit import test_paypal_stl as paypal

_ACCOUNTING = (
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Booking Date,TimeZone,"
    "Main Currency,Main Amount,Record Type,Payment Currency,Received (PC),Authorized (PC),Captured (PC),"
    "Settlement Currency,Payable (SC),Commission (SC),Markup (SC),Scheme Fees (SC),Interchange (SC),"
    "Processing Fee Currency,Processing Fee (FC),User Name,Modification Merchant Reference,Modification Psp Reference"
)
ACCOUNTING = _ACCOUNTING.split(",")
DETAIL = (
    *paypal.COLUMNS[:13],
    *("Transactional Status", "Insurance Amount", "Sales Tax Amount", "Shipping Amount", "Transaction Subject"),
    *("Transaction Note", "Payer's Account ID", "Payer Address Status", "Item Name", "Item ID"),
    *("Option 1 Name", "Option 1 Value", "Option 2 Name", "Option 2 Value"),
    *("Auction Site", "Auction Buyer ID", "Auction Closing Date", "Shipping Address Line1", "Shipping Address Line2"),
    *("Shipping Address City", "Shipping Address State", "Shipping Address Zip", "Shipping Address Country"),
    *("Shipping Method", "Custom Field", "Billing Address Line1", "Billing Address Line2", "Billing Address City"),
    *("Billing Address State", "Billing Address Zip", "Billing Address Country", "Consumer ID", "First Name"),
    *("Last Name", "Consumer Business Name", "Card Type", "Payment Source", "Shipping Name"),
    *("Authorization Review Status", "Protection Eligibility", "Payment Tracking ID"),
)
PAYER = {
    "Payer's Account ID": "cindy@example.org",
    "First Name": "Cindylou",
    "Last Name": "Whovill",
    "Billing Address Line1": "321 Notta Boulevard",
    "Shipping Name": "Cindylou Whovill",
    "Transaction Note": "for Cindylou",
}


def status(type_: str, amount: str = "100.00", **cells: str) -> dict[str, str]:
    """Keywords are columns in lower case, words joined by _: `merchant_reference`, `captured_pc`."""
    names = {name.lower().replace(" (", "_").replace(")", "").replace(" ", "_"): name for name in ACCOUNTING}
    usual = {
        "merchant_account": "TallyShop", "psp_reference": "P1", "merchant_reference": call(1),
        "booking_date": "2026-02-10 10:25:36", "timezone": "CET", "main_currency": "EUR", "main_amount": amount,
        "record_type": type_, "payment_currency": "EUR", "processing_fee_currency": "EUR", "processing_fee_fc": "0.0500",
    }  # fmt: skip
    return {names[name]: value for name, value in (usual | cells).items()}


def accounting(*rows: dict[str, str], columns: Iterable[str] = ACCOUNTING) -> bytes:
    names = list(columns)
    return "".join([csv_line(names), *(csv_line(row.get(name, "") for name in names) for row in rows)]).encode()


STATUSES = (
    status("Received", received_pc="100.00"),
    status("Authorised", authorized_pc="100.00", received_pc="-100.00"),
    status("Settled", captured_pc="-100.00", settlement_currency="EUR", payable_sc="98.80", markup_sc="1.20"),
    status("Refunded", "-25.00", modification_merchant_reference=call(2), modification_psp_reference="R2"),
    status("Refused", psp_reference="P3", merchant_reference="order 3", payment_currency="", user_name="system"),
)


def detailed(lines: Sequence[str], statuses: str = "") -> bytes:
    """A settlement report as its transaction detail report; `statuses`: one letter for each transaction, S for the rest."""
    places, letters = {name: place + 1 for place, name in enumerate(paypal.COLUMNS)}, iter(statuses)

    def changed(line: str) -> str:
        [fields] = csv.reader([line], strict=True)
        if fields[0] == "CH":
            return paypal.record('"CH"', *map(paypal.text, DETAIL))
        if fields[0] != "SB":
            return line
        told = PAYER | {"Transactional Status": next(letters, "S")}
        cells = (fields[places[name]] if name in places else told.get(name, "") for name in DETAIL)
        return paypal.record('"SB"', *map(paypal.text, cells))

    return paypal.bytes_of([changed(line) for line in lines])
