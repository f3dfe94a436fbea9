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


# ── camt.053 ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def entry(
    amount: str,
    direction: str = "CRDT",
    *,
    status: str = "BOOK",
    currency: str = "EUR",
    reference: str = "",
    reversal: str = "false",
    details: str = "",
    more: str = "",
) -> str:
    given = f"<AcctSvcrRef>{reference}</AcctSvcrRef>" if reference else ""
    return (
        f'<Ntry><Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd><RvslInd>{reversal}</RvslInd>'
        f"<Sts>{status}</Sts><BookgDt><Dt>2026-02-11</Dt></BookgDt><ValDt><Dt>2026-02-12</Dt></ValDt>{given}"
        f"<NtryDtls>{details}</NtryDtls>{more}</Ntry>"
    )


def detail(amount: str = "", *, end_to_end: str = "NOTPROVIDED", text: str = "", direction: str = "") -> str:
    own = f'<Amt Ccy="EUR">{amount}</Amt>' if amount else ""
    sign = f"<CdtDbtInd>{direction}</CdtDbtInd>" if direction else ""
    return (
        f"<TxDtls><Refs><EndToEndId>{end_to_end}</EndToEndId></Refs>{own}{sign}"
        f"<RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls>"
    )


def balance(kind: str, amount: str, currency: str = "EUR") -> str:
    direction, plain = ("DBIT", amount[1:]) if amount.startswith("-") else ("CRDT", amount)
    return (
        f'<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp><Amt Ccy="{currency}">{plain}</Amt>'
        f"<CdtDbtInd>{direction}</CdtDbtInd><Dt><Dt>2026-02-11</Dt></Dt></Bal>"
    )


def statement(
    opening: str, closing: str, *entries: str, name: str = "ST-7", number: str = "7", currency: str = "EUR"
) -> str:
    return (
        f"<Stmt><Id>{name}</Id><ElctrncSeqNb>{number}</ElctrncSeqNb><CreDtTm>2026-02-12T06:00:00+01:00</CreDtTm>"
        f"<Acct><Id><IBAN>DE02120300000000202051</IBAN></Id><Ccy>{currency}</Ccy></Acct>"
        f"{balance('OPBD', opening, currency)}{balance('CLBD', closing, currency)}{''.join(entries)}</Stmt>"
    )


def camt053(*statements: str, version: int = 2) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version:02d}"><BkToCstmrStmt><GrpHdr>'
        f"<MsgId>M1</MsgId><CreDtTm>2026-02-12T06:00:00+01:00</CreDtTm></GrpHdr>{''.join(statements)}"
        "</BkToCstmrStmt></Document>\n"
    ).encode()


# ── our own CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────

NATIVE_HEADER = "tallystick-settlement,1,southpay-eu,1042,EUR,2026-02-10,2026-02-11\n"
NATIVE_COLUMNS = (
    "kind,our_ref,psp_ref,order_ref,at,currency,gross,fee,net,commission,markup,scheme,interchange,tax,fx_rate,"
    "net_currency,payout_ref\n"
)


def native_row(kind: str, gross: str, fee: str, net: str, **cells: str) -> str:
    given = {"at": "2026-02-10T10:15:02+01:00", "currency": "EUR", "net_currency": "EUR"} | cells
    given |= {"kind": kind, "gross": gross, "fee": fee, "net": net}
    return csv_line(given.get(name, "") for name in NATIVE_COLUMNS.strip().split(","))


def native(*rows: str, count: int | None = None, total: str = "0.00", header: str = NATIVE_HEADER) -> bytes:
    trailer = f"trailer,{len(rows) if count is None else count},{total}\n"
    return (header + NATIVE_COLUMNS + "".join(rows) + trailer).encode()
