"""The report of a day as a page and as a CSV: nothing in it runs, comes from elsewhere, or is left out."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from operations.cli.recon_charts import by_age, by_code
from operations.cli.recon_page import SECTIONS, page, table
from producers.recon_close_replies import DayReport

EVIL = '=HYPERLINK("http://evil.example","x")<script src=//evil>\x1b[2J\u202e'
VOID = {"meta", "rect"}


def report(subject: str = EVIL, currency: str = "EUR") -> dict[str, Any]:
    amount = {"currency": currency}
    settlement = {
        "settlement_no": 1, "source": "north", "settlement": subject, "psp": "northpay", "state": "booked", "lines": 2,
        "unknown": "0.00", "net": "24.00", "fee": "0.68", "claimed": "24.00", "claims": 1, "day": "2026-01-05",
        "payouts": {}, "revision": 1, "changed_at": "2026-01-06T08:00:00Z", "at_the_bank": "24.00",
    }  # fmt: skip
    return {
        "date": "2026-01-05", "taken_at": "2026-01-06T09:00:00Z",
        "sources": [{"source": "north", "came": 1, "counted": 1, "under_way": 0, "held": 0, "newest_at": None, "missing": 0,
                     "missing_since": None}],
        "missing": [], "under_way": [], "held": [],
        "settlements": [settlement | amount],
        "clearing": [
            {"psp": "northpay", "station": "receivable", "days_late": "not due", "tallies": 3, "plus": "30.00",
             "minus": "-10.00"} | amount,
            {"psp": "northpay", "station": "receivable", "days_late": "8-30", "tallies": 1, "plus": "5.00", "minus": "0.00"}
            | amount,
        ],
        "clearing_totals": [{"psp": "northpay", "station": "receivable", "not_due_tallies": 3, "not_due": "40.00",
                             "late_tallies": 1, "late": "5.00"} | amount],
        "proof": [{"equation": "receivable", "account": "psp:northpay:receivable", "ledger": "25.00", "explained": "25.00",
                   "difference": "0.00"} | amount],
        "holds": True,
        "breaks": [{"code": "AMOUNT", "class": "B", "breaks": 2, "items": 2, "amount": "7.00",
                    "oldest_at": "2026-01-05T08:00:00Z"} | amount],
        "carried_over": [{"break_id": "a" * 32, "code": "AMOUNT", "class": "B", "subject": subject, "source": "north",
                          "psp": "northpay", "amount": "7.00", "items": 2, "opened_at": "2026-01-05T08:00:00Z",
                          "owner": None, "work": "open"} | amount],
        "fees": [{"psp": "northpay", "kind": "c", "lines": 2, "fee": "0.68", "gross": "24.68"} | amount],
    }  # fmt: skip


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.names: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> Elements:
    found = Elements()
    found.feed(html)
    found.close()
    assert found.open == []
    return found


def test_what_is_tested_is_a_report_as_it_is_answered() -> None:
    DayReport.model_validate(report())


def test_the_page_stands_by_itself_and_nothing_in_it_runs() -> None:
    html = page(report(), "b" * 64, [])
    found = parsed(html)
    assert not found.names & {"script", "link", "iframe", "object", "img", "a", "form", "base"}
    assert not {name for name, _ in found.attributes} & {"src", "href", "action", "style", "onload"}
    assert "default-src 'none'" in html
    assert not re.search(r"url\(|@import", html)
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "'=HYPERLINK" in found.text
    assert not re.search(r">\s*=HYPERLINK", html)


@given(st.text(max_size=40), st.text(max_size=10))
def test_whatever_a_file_calls_things_no_element_comes_of_it(subject: str, reason: str) -> None:
    plain = parsed(page(report("plain"), "b" * 64, []))
    signed = [{"state": "signed", "decided_by": subject, "decided_at": "t", "reason": reason}]
    found = parsed(page(report(subject), "b" * 64, signed))
    assert found.names == plain.names
    lines = list(csv.reader(io.StringIO(table(report(subject)))))
    assert len({len(line) for line in lines}) == 1
    formulas = ("=", "+", "@", "\t", "\r")
    assert not [each for line in lines for each in line if each.startswith(formulas)]


def test_the_page_says_whether_the_day_is_signed_and_whether_the_proof_holds() -> None:
    unsigned = parsed(page(report(), "b" * 64, [])).text
    assert "Not signed." in unsigned
    assert "The proof holds, of 1 accounts." in unsigned
    wrong = report()
    wrong["proof"][0] |= {"explained": "24.00", "difference": "1.00"}
    by = {"state": "signed", "decided_by": "operator bob", "decided_at": "2026-01-06", "reason": "all well"}
    signed = parsed(page(wrong | {"holds": False}, "b" * 64, [by])).text
    assert "Signed by operator bob at 2026-01-06: all well" in signed
    assert "Not signed." not in signed
    assert "1 of 1 accounts differ" in signed


def test_each_table_of_the_report_is_on_the_page_and_in_the_csv() -> None:
    told = report("plain")
    text = parsed(page(told, "b" * 64, [])).text
    lines = list(csv.DictReader(io.StringIO(table(told))))
    for section in SECTIONS:
        assert section.title in text
        rows = [line for line in lines if line["section"] == section.name]
        assert len(rows) == len(told[section.name])
        for row, given_ in zip(rows, told[section.name], strict=True):
            amounts = {"fee", "amount", "gross", "late", "not_due", "plus", "minus", "net"} & given_.keys()
            assert {name: row[name] for name in amounts} == {name: given_[name] for name in amounts}
    assert {"capture"} == {line["kind"] for line in lines if line["section"] == "fees"}


def test_bars_are_as_long_as_their_absolute_values_and_of_one_currency_each() -> None:
    told = report()
    [chart] = by_age(told["clearing"])
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([0-9.]+)"', chart)]
    assert widths == [150.0, 50.0, 25.0]  # of 30.00 and 10.00 that are not due, and 5.00 that are late
    assert chart.count("#9aa5b6") == 1
    yen = report(currency="JPY")["clearing"]
    assert len(list(by_age([*told["clearing"], *yen]))) == 2
    [breaks] = by_code(told["breaks"])
    assert "7.00 (2)" in breaks
    assert list(by_code([told["breaks"][0] | {"currency": None, "amount": None}])) == []
