"""Reconciliation and ledger on real databases, and what finance is shown of them, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from consumers.ledger.consumer import build as build_ledger
from operations.cli.recon_answers import answer, walked
from producers import recon_replies, recon_reports
from producers.recon_reports import Answer, Report
from producers.recon_steps import Found, Steps
from reconciliation.formats import keys
from schemas.events import AnyEvent
from tests.captures import capture
from tests.reconciling import BANK, SOURCES, Room, Row, call_id
from tests.reconciling import Report as File
from tests.store.hearing import Hearing
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
