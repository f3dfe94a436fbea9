"""Reconciliation and ledger on real databases, and what finance is shown of them, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from consumers.ledger.consumer import build as build_ledger
from operations.cli.ingesting import ingest
from operations.cli.recon_answers import answer, walked
from producers import recon_replies, recon_reports
from producers.recon_reports import Answer, Report
from producers.recon_steps import Found, Steps
from reconciliation import gate
from reconciliation.formats import keys
from reconciliation.formats.shape import Control
from reconciliation.spool import Events
from schemas.events import AnyEvent
from schemas.settlements import SettlementFileStored, SettlementLines, SettlementLinesEnded
from tests.captures import capture
from tests.reconciling import BANK, SOURCES, Room, Row, call_id
from tests.reconciling import Report as File
from tests.store.hearing import NOW, Hearing
from topics.settings import Settings
from topics.settlement_sources import SettlementSource


class Books:
    """Reconciliation, and the ledger that hears what it hears and says."""

    def __init__(self, settings: Settings, sources: Sequence[SettlementSource] = SOURCES) -> None:
        self.room = Room(settings, sources)
        self.ledger = Hearing(settings, build_ledger(settings))

    def captured(self, *numbers: int) -> None:
        """EUR 12.34 each at northpay."""
        events = [capture(f"order-{number}", call_id=call_id(number)) for number in numbers]
        self.room.hear(*events)
        self.ledger.hears(*events)

    def settle(self, *files: File, after: timedelta = timedelta(0)) -> None:
        for file in files:
            self.room.reads(file)
        said: list[AnyEvent] = list(self.room.settles(after))
        if said:
            self.ledger.hears(*said)

    def ask(self, report: Report) -> Answer:
        return answer(self.room.settings, report)

    def walk(self, steps: Steps[Found]) -> Found:
        return walked(self.room.settings, steps)

    def close(self) -> None:
        self.room.close()
        self.ledger.close()
        assert (self.room.dead, self.ledger.dead) == (0, 0)

    def proof(self) -> dict[str, tuple[str, str]]:
        told = self.ask(recon_reports.proof(SOURCES))
        recon_replies.ProofReport.model_validate(told)
        return {line["account"]: (line["ledger"], line["explained"]) for line in told["proof"]}


def statement(settlement: str = "st-1", paid: int = 2400, opening: int = 100) -> File:
    entry = Row(keys.paid_out("main", "238", "EUR"), paid, kind="s", settlement=settlement)
    return File((entry,), ((settlement, "EUR", opening + paid),), source=BANK, opening=opening)


def ingested(books: Books, source: SettlementSource, data: bytes, path: Path) -> str:
    """Stored, read and settled as the processes do it. → the file's id"""
    path.write_bytes(data)
    row = ingest(books.room.settings, source.name, path, "finance").row
    names = ("source", "file_id", "name", "size", "stored_by", "received_at")
    about = {name: row[name] for name in names} | {"received_at": NOW, "upload_id": "u"}
    books.room.hear(SettlementFileStored(**about))
    reader, parts = gate.opened([data], gate.reads_from(source), path.name)
    *chunks, control = parts
    assert isinstance(control, Control)
    read_by = f"{reader.name}:{reader.version}"
    with books.room.store.transaction() as conn:
        conn.execute(
            "UPDATE files SET state = 'gated', reader = %s, mode = %s, identity = %s, version = %s, first_day = %s,"
            " last_day = %s WHERE file_id = %s",
            [
                read_by,
                reader.mode,
                control.identity,
                control.version,
                control.first_day or None,
                control.last_day or None,
                row["file_id"],
            ],
        )
    psp = source.psp or source.bank_account
    events = Events({"source": source.name, "psp": psp, "file_id": row["file_id"], "reader": read_by}, 1)
    for chunk in chunks:
        books.room.hear(*(SettlementLines.model_validate_json(each.value) for each in events.of(chunk)))  # type: ignore[arg-type]
    books.room.hear(SettlementLinesEnded.model_validate_json(events.end(control.lines, control.claims).value))
    books.settle()
    return str(row["file_id"])
