"""An executor on a database of its own, and a bank that gets its pay-outs as files in a folder."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from consumers.executor import bank_file_rows as rows
from consumers.executor.consumer import build
from consumers.executor.filer import Filer
from consumers.executor.payout import call_id_of
from consumers.executor.settings import ExecutorSettings
from schemas.events import AnyEvent
from schemas.money import Money
from schemas.payouts import BankFileNotified, PayoutNotified, PayoutReady, SealedDestination
from tests.captures import apply_all, record
from tests.store.hearing import TOPIC_OF
from topics.payout_accounts import BankFileAccount, DebtorAccount
from topics.runtime.calls import rows as calls
from topics.runtime.shape.reading import read
from topics.runtime.shape.store import Store
from topics.sealing import Sealer
from topics.settings import Settings

CUT_OFF = datetime(2026, 3, 2, 15, 30, tzinfo=UTC)  # a Monday
BEFORE = CUT_OFF - timedelta(minutes=20)
HOUSE_BANK = "house-bank"
IBAN = "DE89370400440532013000"
AMOUNT = Money(12_000, "EUR")


def bank_account(folder: Path, **changes: Any) -> BankFileAccount:
    return BankFileAccount(
        name=HOUSE_BANK,
        adapter="pain001",
        bank_account="main",
        debtor=DebtorAccount(name="Tally Shop GmbH", iban="DE02120300000000202051", bic="BYLADEM1001"),
        cut_offs=("10:00", "15:30"),
        out=folder / "out",
        sent=folder / "sent",
        statuses=folder / "statuses",
        **changes,
    )


def sealed_iban(settings: Settings, iban: str = IBAN, holder: str = "Ada Lovelace") -> SealedDestination:
    told = json.dumps({"type": "iban", "iban": iban, "holder": holder})
    sealer = Sealer(bytes.fromhex(settings.derive("destinations")))
    sealed = base64.b64encode(sealer.seal(told, "seller-1:iban")).decode()
    return SealedDestination("iban", iban[:2], f"{iban[:4]} … {iban[-4:]}", "9f86d081884c7d65", sealed)


def report(file_id: str, group: str | None, lines: Mapping[str, str] = {}, amounts: Mapping[str, str] = {}) -> bytes:
    """A bank's pain.002: by EndToEndId a status and a reason ("RJCT AC04"), and the amounts in EUR that the bank names."""
    told = "".join(_line(id_, *status.split(), amount=amounts.get(id_)) for id_, status in lines.items())
    status = f"<GrpSts>{group}</GrpSts>" if group else ""
    payment = f"<OrgnlPmtInfAndSts><OrgnlPmtInfId>{file_id}-1</OrgnlPmtInfId>{told}</OrgnlPmtInfAndSts>" if told else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10">'
        f"<CstmrPmtStsRpt><GrpHdr><MsgId>b-1</MsgId><CreDtTm>2026-03-02T18:00:00Z</CreDtTm></GrpHdr>"
        f"<OrgnlGrpInfAndSts><OrgnlMsgId>{file_id}</OrgnlMsgId><OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId>{status}"
        f"</OrgnlGrpInfAndSts>{payment}</CstmrPmtStsRpt></Document>"
    ).encode()


def _line(id_: str, status: str, reason: str = "", *, amount: str | None = None) -> str:
    why = f"<StsRsnInf><Rsn><Cd>{reason}</Cd></Rsn></StsRsnInf>" if reason else ""
    money = f'<OrgnlTxRef><Amt><InstdAmt Ccy="EUR">{amount}</InstdAmt></Amt></OrgnlTxRef>' if amount else ""
    return f"<TxInfAndSts><OrgnlEndToEndId>{id_}</OrgnlEndToEndId><TxSts>{status}</TxSts>{why}{money}</TxInfAndSts>"


@dataclass
class BankRoom:
    """The executor's consumer and filer, by hand. Business time is moved by hand too."""

    settings: ExecutorSettings
    said: list[AnyEvent] = field(default_factory=list)
    told: int = 0

    def __post_init__(self) -> None:
        self.store, self.room = Store(self.settings, "executor"), build(self.settings)
        self.filer = Filer(self.settings)
        self.at(BEFORE)

    def at(self, now: datetime) -> None:
        self.settings.home.mkdir(exist_ok=True)
        self.settings.clock_file.write_text(f"{(now - datetime.now(UTC)).total_seconds():.6f}")

    @property
    def bank(self) -> BankFileAccount:
        return self.settings.bank_accounts[HOUSE_BANK]

    def ready(self, payout_id: str, release_no: int = 1, **changes: object) -> PayoutReady:
        facts: dict[str, object] = {
            "payout_id": payout_id,
            "owner": "shop",
            "seller_account": "seller-1",
            "amount": AMOUNT,
            "release_no": release_no,
            "deadline": CUT_OFF + timedelta(minutes=5),
            "provider": HOUSE_BANK,
            "bank_account": "main",
            "destination": sealed_iban(self.settings),
            "cut_off": CUT_OFF,
        }
        return PayoutReady(**{**facts, **changes})  # type: ignore[arg-type]

    def hears(self, *events: AnyEvent) -> int:
        """→ dead letters"""
        self.told += 1
        messages = [record(event, f"{self.told} {n} {event.key}") for n, event in enumerate(events)]
        placed = [
            message._replace(topic=TOPIC_OF[type(event)]) for message, event in zip(messages, events, strict=True)
        ]
        return apply_all(self.store, self.room, placed).dead

    def releases(self, *payout_ids: str) -> None:
        assert self.hears(*map(self.ready, payout_ids)) == 0

    def look(self) -> None:
        """What the filer's thread does twice a second."""
        self.filer.look()

    def sweep(self) -> None:
        """Apply what is answered, as the sender's sweep does."""
        while True:
            with self.store.transaction() as conn:
                stored = calls.take_unapplied(conn, "me")
            if not stored:
                return
            apply_all(self.store, self.room, [calls.message(reply) for reply in stored])

    def delivers(self) -> str:
        """The cut-off passes. → the id of the one new file"""
        before = self.files().keys()
        self.at(CUT_OFF)
        self.look()
        self.sweep()
        [file_id] = self.files().keys() - before
        return file_id

    def loses_a_file(self) -> str:
        """The cut-off passes, and the filer dies before its one new file gets its name. → its id"""
        self.at(CUT_OFF)
        assert self.filer._close_one(self.bank)
        with self.store.transaction() as conn:
            file = rows.lease_closed(conn, [HOUSE_BANK], "dead")
            assert file is not None
            assert rows.begin_delivery(conn, file.file_id, "0" * 64, 1, "dead", CUT_OFF)
        self.lose_leases()
        self.look()
        assert self.files()[file.file_id] == "unresolved"
        return file.file_id

    def call(self, payout_id: str) -> str:
        """The EndToEndId of its first release."""
        return call_id_of(payout_id, 1)

    def word(self, payout_id: str, status: str, **changes: object) -> PayoutNotified:
        """What a status file says of a line, as the door tells it."""
        [line] = self.lines(payout_id)
        facts: dict[str, object] = {
            "reference": line["call_id"],
            "provider": HOUSE_BANK,
            "notification_id": f"{status} {payout_id}",
            "source": "bank_file",
            "status": status,
            "amount": Money(line["amount_minor"], line["currency"]),
            "provider_reference": f"{line['file_id']}-{line['position']}",
            "code": "AC04" if status == "failed" else None,
        }
        return PayoutNotified(**{**facts, **changes})  # type: ignore[arg-type]

    def file_word(self, file_id: str, status: str, source: str = "bank_file") -> BankFileNotified:
        return BankFileNotified(
            reference=file_id,
            provider=HOUSE_BANK,
            notification_id=f"{status} {file_id}",
            source=source,  # type: ignore[arg-type]
            status=status,  # type: ignore[arg-type]
            amount=AMOUNT,
        )

    def lines(self, payout_id: str | None = None) -> list[dict[str, Any]]:
        wanted = "SELECT * FROM bank_file_line_view WHERE %s::text IS NULL OR payout_id = %s ORDER BY file_id, position"
        return read(self.settings, "executor", wanted, [payout_id, payout_id])

    def states(self) -> dict[str, str]:
        return {
            row["payout_id"]: row["state"]
            for row in read(self.settings, "executor", "SELECT payout_id, state FROM payout_view")
        }

    def files(self) -> dict[str, str]:
        return {
            row["file_id"]: row["state"]
            for row in read(self.settings, "executor", "SELECT file_id, state FROM bank_file_view")
        }

    def written(self, file_id: str) -> str:
        return (self.bank.out / f"{file_id}.xml").read_text()

    def end_to_end_ids(self, file_id: str) -> list[str]:
        return re.findall("<EndToEndId>([0-9a-f]{32})</EndToEndId>", self.written(file_id))

    def lose_leases(self) -> None:
        with self.store.transaction() as conn:
            conn.execute(
                "UPDATE bank_files SET lease_until = clock_timestamp() - interval '1 s' WHERE lease_until IS NOT NULL"
            )

    def close(self) -> None:
        """Nothing waits for this bank any more: where tests share the store, no sender would start without it in its settings."""
        with self.store.transaction() as conn:
            conn.execute(
                "UPDATE calls SET state = 'ended', outcome = 'given up', lease_until = NULL, leased_by = NULL"
                " WHERE psp = %s AND state <> 'ended'",
                (HOUSE_BANK,),
            )
        self.filer.close()
        self.store.close()
