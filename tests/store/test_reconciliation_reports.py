"""What finance is shown, on the real databases of reconciliation and ledger: files, settlements, clearing, proof, breaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from operations.cli import recon_explained as recon_explained_shown
from operations.cli.csv_rows import cell, say_csv
from producers import recon_explained, recon_replies, recon_reports
from producers.recon_reports import BreaksAsked
from reconciliation.formats import keys
from schemas.settlements import SettlementFileDiscarded
from tests.reconciling import ADYEN, BANK, SOURCES, Row, call_id, paid_out
from tests.reconciling import Report as File
from tests.store.finance import Books, statement
from tests.store.hearing import NOW
from topics.settings import Settings

LATE = timedelta(days=12)


@pytest.fixture
def books(stored: Settings) -> Iterator[Books]:
    books = Books(stored)
    yield books
    books.close()


def test_the_money_is_seen_at_each_station_and_the_proof_holds_at_each(books: Books) -> None:
    books.captured(1, 2)
    assert books.proof()["psp:northpay:receivable"] == ("24.68", "24.68")
    [out] = books.ask(recon_reports.clearing(None, NOW.date()))["clearing"]
    assert (out["station"], out["days_late"], out["plus"], out["minus"], out["tallies"]) == (
        "receivable", "not due", "24.68", "0.00", 2,
    )  # fmt: skip
    books.settle(paid_out([Row(call_id(1), 1234, 34), Row(call_id(2), 1234, 34)]))
    assert books.proof() == {
        "bank:main:clearing": ("24.00", "24.00"),
        "psp:northpay:receivable": ("0.00", "0.00"),
    }
    [out] = books.ask(recon_reports.clearing(None, NOW.date()))["clearing"]
    assert (out["psp"], out["station"], out["plus"]) == ("main", "bank clearing", "24.00")
    books.settle(statement())
    assert books.proof() == {
        "bank:main": ("24.00", "24.00"),
        "bank:main:clearing": ("0.00", "0.00"),
        "psp:northpay:receivable": ("0.00", "0.00"),
    }
    assert books.ask(recon_reports.clearing(None, NOW.date()))["clearing"] == []


def test_a_settlement_is_shown_with_what_its_lines_add_up_to_and_what_has_arrived(books: Books) -> None:
    books.captured(1)
    books.settle(paid_out([Row(call_id(1), 1234, 34), Row(call_id(2), 1234, 34)]))
    found = books.ask(recon_reports.settlements(None, None, 10))["settlements"]
    [one] = books.ask(recon_reports.at_the_bank(found, SOURCES))["settlements"]
    recon_replies.SettlementAtBank.model_validate(one)
    assert (one["state"], one["net"], one["fee"], one["claimed"], one["at_the_bank"]) == (
        "booked", "24.00", "0.68", "24.00", "0.00",
    )  # fmt: skip
    assert (one["lines"], one["unknown"]) == (2, "12.34")
    books.settle(statement())
    found = books.ask(recon_reports.settlements("adyen-eu", None, 10))["settlements"]
    [one] = books.ask(recon_reports.at_the_bank(found, SOURCES))["settlements"]
    assert one["at_the_bank"] == "24.00"
    newest = books.ask(recon_reports.settlements(None, None, 1))["settlements"]
    assert [one["source"] for one in newest] == ["bank-main", "adyen-eu"], (
        "one more than asked for says that there are more"
    )
    assert books.ask(recon_reports.settlements(None, newest[0]["settlement_no"], 1))["settlements"] == found


def test_pay_outs_that_the_bank_names_are_looked_up_by_its_references(books: Books) -> None:
    books.captured(1, 2)
    rows = [Row(call_id(1), 1234, 34), Row(call_id(2), 1234, 34)]
    books.settle(paid_out(rows, payouts=(("T1", 1000), ("T2", 1400))))
    entry = Row(keys.paid_out("main", "T1", "EUR"), 1000, kind="s", settlement="st-1")
    books.settle(File((entry,), (("st-1", "EUR", 1000),), source=BANK, opening=0))
    found = books.ask(recon_reports.settlements("adyen-eu", None, 10))["settlements"]
    [one] = books.ask(recon_reports.at_the_bank(found, SOURCES))["settlements"]
    recon_replies.SettlementAtBank.model_validate(one)
    assert (one["payouts"], one["at_the_bank"]) == ({"T1": "10.00", "T2": "14.00"}, "10.00")


def test_a_pay_out_that_the_bank_does_not_name_is_shown_at_the_bank_by_its_amount(books: Books) -> None:
    books.captured(1)
    books.settle(paid_out([Row(call_id(1), 1234, 34)]))
    entry = Row(keys.theirs("main", "a name of the bank's"), 1200, kind="s", settlement="st-1")
    books.settle(File((entry,), (("st-1", "EUR", 1200),), source=BANK, opening=0))
    found = books.ask(recon_reports.settlements("adyen-eu", None, 10))["settlements"]
    [one] = books.ask(recon_reports.at_the_bank(found, SOURCES))["settlements"]
    assert one["at_the_bank"] == "12.00"


def test_what_a_line_owes_and_what_a_late_capture_owes_are_not_set_off_against_each_other(books: Books) -> None:
    books.captured(1)
    books.settle(paid_out([Row(call_id(9), 1234, 34)]))
    told = books.ask(recon_reports.clearing("northpay", (NOW + LATE).date()))["clearing"]
    recon_replies.ClearingReport.model_validate({"clearing": told})
    assert [(one["station"], one["days_late"], one["plus"], one["minus"]) for one in told] == [
        ("receivable", "8-30", "12.34", "0.00"),
        ("unknown", "not due", "0.00", "-12.34"),
    ]
    assert books.proof()["suspense"] == ("-12.34", "-12.34")


def test_a_book_that_was_tampered_with_shows_in_the_proof(books: Books) -> None:
    books.captured(1)
    books.settle(paid_out([Row(call_id(1), 1234, 34)]))
    with books.ledger.store.transaction() as conn:
        conn.execute(
            "UPDATE balances b SET debits = debits + 1 FROM accounts a"
            " WHERE a.account_id = b.account_id AND a.account = 'psp:northpay:receivable'"
        )
    told = books.ask(recon_reports.proof(SOURCES))
    assert not told["holds"]
    assert [line["difference"] for line in told["proof"] if line["equation"] == "receivable"] == ["0.01"]


def test_an_untied_settlement_and_a_missing_line_are_breaks_with_items_and_history(books: Books) -> None:
    books.captured(1, 2)
    rows = (Row(call_id(1), 1234, 34),)
    books.settle(File(rows, (("238", "EUR", 1300),)))
    books.settle(after=LATE)
    listed = books.ask(recon_reports.breaks(BreaksAsked()))["breaks"]
    assert {(one["code"], one["amount"]) for one in listed} == {("PAYOUT_TOTAL", "12.00"), ("MISSING_AT_PSP", "12.34")}
    of_code = books.ask(recon_reports.breaks(BreaksAsked(code="PAYOUT_TOTAL")))["breaks"]
    assert [one["code"] for one in of_code] == ["PAYOUT_TOTAL"]
    after = BreaksAsked(at=listed[0]["opened_at"], id_=listed[0]["break_id"])
    assert books.ask(recon_reports.breaks(after))["breaks"] == listed[1:]
    missing = next(one for one in listed if one["code"] == "MISSING_AT_PSP")
    shown = books.ask(recon_reports.one_break(missing["break_id"]))
    recon_replies.BreakShown.model_validate(shown)
    assert [item["item"] for item in shown["its_items"]] == [f"northpay|c|{call_id(2)}"]
    assert [act["action"] for act in shown["actions"]] == ["opened"]
    assert books.ask(recon_reports.one_break("0" * 32)) == {}
    [untied] = books.ask(recon_reports.untied())["settlements"]
    assert (untied["state"], untied["net"], untied["claimed"]) == ("untied", "12.00", "13.00")


def test_the_day_on_one_screen_has_every_source_and_what_is_held(books: Books) -> None:
    books.captured(1)
    good, bad = paid_out([Row(call_id(1), 1234, 34)]), paid_out([Row(call_id(2), 1)])
    books.settle(good)
    books.room.hear(bad.stored())
    with books.room.store.transaction() as conn:
        conn.execute(
            "UPDATE files SET state = 'quarantined', why = 'bad_total', refusal = %s WHERE file_id = %s",
            [json.dumps({"code": "bad_total", "detail": "7", "line": 3, "column": None, "excerpt": ""}), bad.file_id],
        )
    told = books.ask(recon_reports.day(SOURCES, NOW.date()))
    recon_replies.ReconDay.model_validate(told)
    counted = {one["source"]: (one["came"], one["counted"], one["held"]) for one in told["sources"]}
    assert counted == {"adyen-eu": (2, 1, 1), "south-eu": (0, 0, 0), "bank-main": (0, 0, 0)}
    assert [(one["why"], one["refusal"]["line"]) for one in told["held"]] == [("bad_total", 3)]
    assert (told["holds"], told["settlements"], told["breaks"]) == (True, [], [])
    later = books.ask(recon_reports.files([ADYEN], *recon_reports.whole((NOW + LATE).date())))["sources"]
    assert [(one["came"], one["held"]) for one in later] == [(0, 1)], "what is held is shown until somebody decides"


def test_a_settlement_and_a_payment_are_explained_line_by_line(
    books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    books.captured(1)
    file = paid_out([Row(call_id(1), 1234, 34), Row(call_id(2), 100, 4)])
    books.settle(file)
    [one] = books.ask(recon_explained.settlement("adyen-eu/238"))["settlements"]
    recon_replies.SettlementExplained.model_validate(one)
    assert [(row["kind"], row["gross"], row["unknown"], row["fee"], row["net"]) for row in one["sums"]] == [
        ("c", "13.34", "1.00", "0.38", "12.96"),
        ("p", "-12.96", "-12.96", "0.00", "-12.96"),
    ]
    assert {row["role"]: row["amount"] for row in one["booked"]} == {
        "receivable": "-12.34", "suspense": "-1.00", "fees": "0.38", "bank_clearing": "12.96",
    }  # fmt: skip
    assert [(row["file_id"], row["paid"]) for row in one["files"]] == [(file.file_id, "12.96")]
    recon_explained_shown.settlements([one], as_csv=False)
    assert "its lines add up to 12.96, claimed is 12.96" in capsys.readouterr().out
    [tally] = books.ask(recon_explained.tallies([call_id(1)]))["tallies"]
    recon_replies.TallyExplained.model_validate(tally)
    assert (tally["subject"], tally["expected"], tally["settled"], tally["fee"]) == (
        "order-1",
        "12.34",
        "12.34",
        "0.34",
    )
    assert [(line["settlement"], line["file_id"], line["gross"]) for line in tally["lines"]] == [
        ("238", file.file_id, "12.34")
    ]
    recon_explained_shown.tallies([tally], as_csv=True)
    assert capsys.readouterr().out.splitlines()[1].startswith(f"capture,{call_id(1)},EUR,adyen-eu,f.csv,238,12.34,0.34")
    assert books.ask(recon_explained.settlement("adyen-eu/238/EUR"))["settlements"] == [one]
    assert books.ask(recon_explained.settlement("adyen-eu/238/USD"))["settlements"] == []
    assert books.ask(recon_explained.settlement("adyen-eu/239"))["settlements"] == []


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+49 30", "'+49 30"),
        ("-1+cmd", "'-1+cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-12.34", "-12.34"),
        (None, ""),
        ("\x1b[2Jx", "\\x1b[2Jx"),
        ("\t=1", "'\\t=1"),
    ],
)
def test_no_cell_of_a_csv_is_a_formula_or_moves_the_cursor(value: Any, written: str) -> None:
    assert cell(value) == written


def test_a_csv_quotes_what_would_break_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    say_csv(["a", "b"], [{"a": 'x,"y"', "b": "two\nlines"}])
    assert capsys.readouterr().out == 'a,b\n"x,""y""",two\\nlines\n'


def test_what_the_brake_holds_is_not_explained_by_what_the_gate_had_refused(books: Books) -> None:
    """Two persons have released the file from that; now they decide about something else."""
    report = paid_out([Row(call_id(1), 1234, 34)])
    books.room.hear(report.stored())
    for state, why, shown in (("quarantined", "bad_total", "bad_total"), ("held", "amounts", None)):
        with books.room.store.transaction() as conn:
            conn.execute('UPDATE files SET state = %s, why = %s, refusal = \'{"code": "bad_total"}\'', [state, why])
        [held] = books.ask(recon_reports.files(SOURCES, NOW, NOW + LATE))["held"]
        assert (held["why"], (held["refusal"] or {}).get("code")) == (why, shown)


def test_a_settlement_is_shown_as_the_files_have_it_that_count(books: Books) -> None:
    books.captured(1, 2)
    first = paid_out([Row(call_id(1), 1234, 34)], identity="batch 238", version="1")
    second = paid_out([Row(call_id(1), 1234, 34), Row(call_id(2), 1234, 34)], identity="batch 238", version="2")
    books.settle(first)
    books.settle(second)
    [shown] = books.ask(recon_reports.settlements(None, None, 10))["settlements"]
    assert (shown["state"], shown["claims"], shown["claimed"]) == ("booked", 1, "24.00")
    for file in (second, first):
        books.room.hear(
            SettlementFileDiscarded(source="adyen-eu", file_id=file.file_id, discarded_by="bob", reason="not ours")
        )
        books.settle()
    [shown] = books.ask(recon_reports.settlements(None, None, 10))["settlements"]
    recon_replies.SettlementAtBank.model_validate(shown | {"at_the_bank": None})
    assert (shown["state"], shown["lines"], shown["claims"], shown["claimed"]) == ("withdrawn", 0, 0, None)
    assert books.ask(recon_reports.untied())["settlements"] == []
