"""What a bank says of a file → pain.002.001.10, the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from xml.sax.saxutils import escape

from simulator.currencies import ISO
from simulator.settlements.model import decimal_text

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"


class ToldLine(NamedTuple):
    """A line of the file and its status; `code` is the reason of one that is not paid."""

    position: int
    end_to_end: str
    amount: int
    status: str
    code: str | None


class Report(NamedTuple):
    """One report. `about` is the file's MsgId, `payment_id` its PmtInfId."""

    id: str
    at_us: int
    about: str
    payment_id: str
    currency: str
    status: str
    code: str | None
    lines: Sequence[ToldLine]


def write(report: Report) -> bytes:
    return "".join(_document(report)).encode()


def _document(report: Report) -> Iterator[str]:
    created = datetime.fromtimestamp(report.at_us // 1_000_000, UTC).isoformat()
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{NAMESPACE}">\n<CstmrPmtStsRpt>\n'
    yield f"<GrpHdr><MsgId>{escape(report.id)}</MsgId><CreDtTm>{created}</CreDtTm></GrpHdr>\n"
    yield f"<OrgnlGrpInfAndSts><OrgnlMsgId>{escape(report.about)}</OrgnlMsgId>"
    yield f"<OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId><GrpSts>{report.status}</GrpSts>{_reason(report.code)}"
    yield "</OrgnlGrpInfAndSts>\n"
    if report.lines:
        yield f"<OrgnlPmtInfAndSts><OrgnlPmtInfId>{escape(report.payment_id)}</OrgnlPmtInfId>\n"
        for line in report.lines:
            yield _line(line, report.currency)
        yield "</OrgnlPmtInfAndSts>\n"
    yield "</CstmrPmtStsRpt>\n</Document>\n"


def _line(line: ToldLine, currency: str) -> str:
    amount = decimal_text(line.amount, ISO[currency])
    return (
        f"<TxInfAndSts><OrgnlInstrId>{line.position}</OrgnlInstrId>"
        f"<OrgnlEndToEndId>{escape(line.end_to_end)}</OrgnlEndToEndId><TxSts>{line.status}</TxSts>{_reason(line.code)}"
        f'<OrgnlTxRef><Amt><InstdAmt Ccy="{currency}">{amount}</InstdAmt></Amt></OrgnlTxRef></TxInfAndSts>\n'
    )


def _reason(code: str | None) -> str:
    return f"<StsRsnInf><Rsn><Cd>{code}</Cd></Rsn></StsRsnInf>" if code else ""
