"""Settlement files and bank statements as their senders write them, made anew: rows → bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

_ADYEN = (
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Creation Date,TimeZone,Type,"
    "Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC),Exchange Rate,Net Currency,Net Debit (NC),"
    "Net Credit (NC),Commission (NC),Markup (NC),Scheme Fees (NC),Interchange (NC),Payment Method Variant,"
    "Modification Merchant Reference,Batch Number,Reserved4,Reserved5,Reserved6,Reserved7,Reserved8,Reserved9,Reserved10"
)
_TAIL = (
    "Booking Date,Booking Date TimeZone,Metadata,Balance Currency,Net Debit (BC),Net Credit (BC),Payment Fees (NC),"
    "DCC Markup (NC),Funds Destination,Balance Platform Debit,Balance Platform Credit,Shopper Country,Clearing Network,"
    "Merchant Order Reference,Dispute Reference,ARN,Settlement Flow,Authorisation Code,Gross Fees (NC)"
)
ADYEN, ADYEN_TAIL = _ADYEN.split(","), _TAIL.split(",")
ADYEN_ROW = {
    "Company Account": "TallyCompany",
    "Merchant Account": "TallyShop",
    "Creation Date": "2026-02-10 10:25:36",
    "TimeZone": "CET",
    "Gross Currency": "EUR",
    "Exchange Rate": "1",
    "Net Currency": "EUR",
    "Batch Number": "7",
}


def call(number: int) -> str:
    """A call id of ours."""
    return UUID(int=number + (1 << 100)).hex


def csv_line(cells: Iterable[str], end: str = "\n") -> str:
    return (
        ",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' if set(cell) & set(',"\r\n') else cell for cell in cells)
        + end
    )


def adyen_row(type_: str, **cells: str) -> dict[str, str]:
    """Keywords are columns in lower case with _ for what is no letter: `net_credit`, `merchant_reference`."""
    names = {name.partition(" (")[0].lower().replace(" ", "_"): name for name in reversed((*ADYEN, *ADYEN_TAIL))}
    return ADYEN_ROW | {"Type": type_} | {names[name]: value for name, value in cells.items()}


def settled(number: int = 1, **cells: str) -> dict[str, str]:
    """100.00 EUR, of which 1.20 are fees."""
    return adyen_row(
        "Settled",
        **{
            "psp_reference": f"P{number:015d}",
            "merchant_reference": call(number),
            "modification_reference": f"C{number:015d}",
            "modification_merchant_reference": call(number),
            "gross_credit": "100.00",
            "net_credit": "98.80",
            "markup": "0.20",
            "scheme_fees": "0.35",
            "interchange": "0.65",
        }
        | cells,
    )


def paid_out(amount: str, **cells: str) -> dict[str, str]:
    empty = {"gross_currency": "", "exchange_rate": "", "psp_reference": ""}
    return adyen_row(
        "MerchantPayout", **empty | {"net_debit": amount, "modification_reference": "TX1XT batch 7, TallyShop"} | cells
    )


def adyen(rows: Iterable[dict[str, str]], columns: Iterable[str] = ADYEN) -> bytes:
    names = list(columns)
    return "".join([csv_line(names), *(csv_line(row.get(name, "") for name in names) for row in rows)]).encode()


def adyen_blocks(lines: int) -> Iterator[bytes]:
    """A batch of any size that ties, without being held in memory: `lines` - 1 captures and the pay-out of them all."""
    yield csv_line(ADYEN).encode()
    held: list[str] = []
    paid = 0
    for number in range(lines - 1):
        cents = 500 + number * 7919 % 100_000
        markup, scheme, interchange = cents // 400, cents // 300 + 1, cents // 200 + 2
        net = cents - markup - scheme - interchange
        paid += net
        reference = call(number)
        held.append(
            f"TallyCompany,TallyShop,P{number:015d},{reference},visa,2026-02-{1 + number % 28:02d} {number // 3600 % 24:02d}:"
            f"{number // 60 % 60:02d}:{number % 60:02d},CET,Settled,C{number:015d},EUR,,{cents // 100}.{cents % 100:02d},1,EUR,,"
            f"{net // 100}.{net % 100:02d},,{markup / 100:.2f},{scheme / 100:.2f},{interchange / 100:.2f},visaclassic,"
            f"{reference},7,,,,,,,\n"
        )
        if len(held) == 1000:
            yield "".join(held).encode()
            held.clear()
    out = paid_out(f"{paid // 100}.{paid % 100:02d}")
    yield ("".join(held) + csv_line(out.get(name, "") for name in ADYEN)).encode()
