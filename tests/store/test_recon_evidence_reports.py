"""A report beside the one that settles, and a pay-out in two files, through the gate and the room: what is explained of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.executor.consumer import build as build_executor
from operations.auditor.engine.stores import Stores
from operations.cli.timeline_settled import moments, settled
from operations.stack.settings import AllSettings
from producers import recon_explained
from tests import checkoutcom_files as checkoutcom
from tests.captures import capture
from tests.evidence_files import accounting, status
from tests.reconciling import SECOND, SOURCES, call_id
from tests.store.finance import Books, ingested
from tests.store.hearing import Hearing
from tests.unit.executor_cases import order


@pytest.fixture
def books(stored: AllSettings) -> Iterator[Books]:
    books = Books(stored)
    yield books
    books.close()


def test_a_status_is_shown_with_the_words_of_its_file_and_moves_nothing(
    books: Books, tmp_path: Path, stored: AllSettings
) -> None:
    executor = Hearing(stored, build_executor(stored), "x")
    executor.hears(order("order-1"))
    [call] = executor.rows("SELECT call_id FROM attempt_view")
    executor.store.close()
    books.room.hear(capture("order-1", call_id=call["call_id"]))
    named = {"merchant_reference": call["call_id"]}
    data = accounting(status("Authorised", **named), status("Refused", **named))
    ingested(books, SOURCES[0], data, tmp_path / "payments_accounting_report.csv")
    found = books.walk(recon_explained.explained("order-1", SOURCES))["tallies"]
    taken, evidence = sorted(found, key=lambda tally: str(tally["kind"]))
    assert (taken["kind"], taken["settled"], taken["lines"]) == ("c", "0.00", [])
    assert (evidence["kind"], evidence["expected"], evidence["settled"]) == ("e", "0.00", "0.00")
    assert [line["text"] for line in evidence["lines"]] == data.decode().splitlines()[1:]
    with Stores(books.room.settings) as stores:
        parts = settled(books.room.settings, stores, ["order-1"])
    assert {part.kind: part.state for part in parts} == {
        "capture": "expected by 2026-01-07",
        "evidence": "told in file payments_accounting_report.csv",
    }
    told = [moment.what for part in parts for moment in moments([part])]
    assert told == ["capture expected", "told by the PSP", "told by the PSP"]


def test_a_pay_out_of_checkoutcom_is_booked_from_its_two_files_whichever_comes_first(
    books: Books, tmp_path: Path
) -> None:
    row = checkoutcom.movement("Charge", "12.34", "-0.1234", "12.2166", reference=call_id(1))
    files = {
        "breakdown.csv": checkoutcom.breakdown(row),
        "payouts.csv": checkoutcom.payouts(checkoutcom.payout("12.22")),
    }
    books.captured(1)
    for name, data in reversed(files.items()):
        assert books.room.booked() == {}
        ingested(books, SOURCES[0], data, tmp_path / name)
    assert books.room.booked() == {
        "adyen-eu/PAY1/EUR": {"receivable EUR": -12_34, "fees EUR": 12, "bank_clearing EUR": 12_22}
    }
    assert not {code for code, _ in books.room.breaks()} - {"PAYOUT_MISSING"}


def test_two_sources_with_a_report_of_one_account_each_settle_each_payment_twice(books: Books, tmp_path: Path) -> None:
    """What the documentation says of it: it is shown, not counted silently."""
    books.captured(1)
    twice = SECOND.model_copy(update={"psp": SOURCES[0].psp})
    row = checkoutcom.movement("Charge", "12.34", "0", "12.34", reference=call_id(1))
    acted = checkoutcom.action("Capture", "Capture", "12.34", reference=call_id(1))
    named = twice.model_copy(update={"format": "checkoutcom_financial_actions"})
    ingested(books, SOURCES[0], checkoutcom.breakdown(row), tmp_path / "breakdown.csv")
    ingested(books, named, checkoutcom.actions(acted), tmp_path / "actions.csv")
    assert ("AMOUNT", f"{SOURCES[0].psp}|c|{call_id(1)}") in books.room.breaks()
