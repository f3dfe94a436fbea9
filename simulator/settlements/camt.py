"""Statements of a day → ISO 20022 camt.053 or 054, version 2 or 8: amounts without sign, the direction beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal
from xml.sax.saxutils import escape

from simulator.currencies import ISO
from simulator.settlements.bank import Entry, Statement, bank_reference
from simulator.settlements.model import decimal_text

Version = Literal[2, 8]


def write(statements: Sequence[Statement], version: Version = 2) -> Iterator[bytes]:
    """The file, an element at a time; each statement has one account and one currency."""
    for text in _document(statements, version):
        yield (text + "\n").encode()


def write_notification(statements: Sequence[Statement], version: Version = 8) -> Iterator[bytes]:
    """camt.054: the same entries without balances, each as a batch with the number and the sum of its payments."""
    first = statements[0]
    yield f"""<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.054.001.{version:02d}">
<BkToCstmrDbtCdtNtfctn><GrpHdr><MsgId>N-{first.account}-{first.day}</MsgId><CreDtTm>{_time(first.closed_at)}</CreDtTm></GrpHdr>
""".encode()
    for statement in statements:
        currency = statement.currency
        account = f"<Acct><Id><IBAN>{iban(statement.account, currency)}</IBAN></Id><Ccy>{currency}</Ccy></Acct>"
        yield f"<Ntfctn><Id>N-{statement.account}-{currency}-{statement.day}</Id>{account}\n".encode()
        for entry in statement.entries:
            total = _money(entry.amount, currency).replace("Amt", "TtlAmt")
            batch = f"<Btch><NbOfTxs>1</NbOfTxs>{total}</Btch>"
            for text in _entry(entry, statement, version):
                yield text.replace("<NtryDtls>", f"<NtryDtls>{batch}").encode() + b"\n"
        yield b"</Ntfctn>\n"
    yield b"</BkToCstmrDbtCdtNtfctn>\n</Document>\n"


def iban(account: str, currency: str) -> str:
    """An invented account number with check digits (ISO 13616), one for each account and currency."""
    drawn = int.from_bytes(hashlib.blake2b(f"{account}/{currency}".encode(), digest_size=6).digest(), "big")
    number = f"50010517{drawn % 10**10:010d}"
    return f"DE{98 - int(f'{number}131400') % 97:02d}{number}"


def _document(statements: Sequence[Statement], version: Version) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version:02d}">'
    yield "<BkToCstmrStmt>"
    first = statements[0]
    header = f"<MsgId>{first.account}-{first.day}</MsgId><CreDtTm>{_time(first.closed_at)}</CreDtTm>"
    yield f"<GrpHdr>{header}</GrpHdr>"
    for statement in statements:
        yield from _statement(statement, version)
    yield "</BkToCstmrStmt>"
    yield "</Document>"


def _statement(statement: Statement, version: Version) -> Iterator[str]:
    number, currency = statement.number, statement.currency
    account = f"<IBAN>{iban(statement.account, currency)}</IBAN>"
    yield "<Stmt>"
    yield f"<Id>{statement.account}-{currency}-{statement.day}</Id>"
    yield f"<ElctrncSeqNb>{number}</ElctrncSeqNb><LglSeqNb>{number}</LglSeqNb>"
    yield f"<CreDtTm>{_time(statement.closed_at)}</CreDtTm>"
    yield f"<FrToDt><FrDtTm>{statement.day}T00:00:00+00:00</FrDtTm><ToDtTm>{statement.day}T23:59:59+00:00</ToDtTm></FrToDt>"
    yield f"<Acct><Id>{account}</Id><Ccy>{currency}</Ccy></Acct>"
    yield _balance("OPBD", statement.opening, statement)
    yield _balance("CLBD", statement.closing, statement)
    for entry in statement.entries:
        yield from _entry(entry, statement, version)
    yield "</Stmt>"


def _balance(code: str, minor: int, statement: Statement) -> str:
    kind = f"<Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>"
    return f"<Bal>{kind}{_money(minor, statement.currency)}<Dt><Dt>{statement.day}</Dt></Dt></Bal>"


def _entry(entry: Entry, statement: Statement, version: Version) -> Iterator[str]:
    """An entry with its one transaction. Later versions wrap the code of the status."""
    day = f"<Dt>{statement.day}</Dt>"
    family = "RCDT" if entry.amount > 0 else "ICDT"
    yield "<Ntry>"
    yield _money(entry.amount, statement.currency)
    yield "<RvslInd>false</RvslInd>"
    yield "<Sts>BOOK</Sts>" if version == 2 else "<Sts><Cd>BOOK</Cd></Sts>"
    yield f"<BookgDt>{day}</BookgDt><ValDt>{day}</ValDt><AcctSvcrRef>{bank_reference(entry.fact)}</AcctSvcrRef>"
    yield f"<BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>{family}</Cd><SubFmlyCd>ESCT</SubFmlyCd></Fmly></Domn></BkTxCd>"
    yield "<NtryDtls><TxDtls>"
    yield f"<Refs><EndToEndId>{escape(entry.end_to_end) or 'NOTPROVIDED'}</EndToEndId></Refs>"
    if version != 2:
        yield _money(entry.amount, statement.currency)
    yield _party(entry, version)
    yield f"<RmtInf><Ustrd>{escape(entry.text)}</Ustrd></RmtInf>"
    yield "</TxDtls></NtryDtls>"
    yield "</Ntry>"


def _party(entry: Entry, version: Version) -> str:
    side = "Dbtr" if entry.amount > 0 else "Cdtr"
    name = f"<Nm>{escape(entry.counterparty)}</Nm>"
    return f"<RltdPties><{side}>{name if version == 2 else f'<Pty>{name}</Pty>'}</{side}></RltdPties>"


def _money(minor: int, currency: str) -> str:
    direction = "DBIT" if minor < 0 else "CRDT"
    amount = decimal_text(abs(minor), ISO[currency])
    return f'<Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd>'


def _time(at: int) -> str:
    return datetime.fromtimestamp(at // 1_000_000, UTC).isoformat()
