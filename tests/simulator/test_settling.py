"""What happened at simulated PSPs → settlements and statements: each cent once, the same bytes whenever they are asked for."""

from __future__ import annotations

import csv
import io
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from uuid import uuid4
from xml.etree import ElementTree

import pytest

from psp.port import Capture, Refund, Void
from schemas.money import Money
from tests.simulator.behind import authorised, order_of, sent
from tests.simulator.conftest import provider_of, psps_of
from tests.simulator.running import RunningSimulator, wait_for
from tests.simulator.test_charging import a_charge, charged
from tests.simulator.test_transfers import a_transfer, transferred

DAY_S = 86_400


class Days:
    """A simulator whose clock only this file moves."""

    def __init__(self, running: RunningSimulator) -> None:
        self.running = running
        self.psps = psps_of(running)
        self.ahead_s = 0

    def next(self) -> None:
        """A day later, and the simulator has seen it."""
        before = self.now()
        self.ahead_s += DAY_S
        self.running.clock.write_text(str(self.ahead_s))
        wait_for(lambda: self.now() > before + timedelta(hours=12))

    def now(self) -> datetime:
        return datetime.fromisoformat(self.running.control("GET", "/control/status")["now"])

    def settled(self, terms: object = None, **asked: object) -> dict[str, Any]:
        asked = {"terms": terms, **asked}
        told: dict[str, Any] = self.running.control(
            "POST", "/control/settle", {name: value for name, value in asked.items() if value is not None}
        )
        return told

    def files(self, date: str, **query: str) -> dict[str, bytes]:
        """Name → bytes."""
        asked = {"date": date, **query}
        listed = self.running.control("GET", f"/control/settlements?{urlencode(asked)}")["files"]
        return {file["name"]: self.bytes({**asked, "source": file["source"], "name": file["name"]}) for file in listed}

    def bytes(self, query: dict[str, str], start: int = 0) -> bytes:
        query = {**query, "from": str(start)}
        with urllib.request.urlopen(f"{self.running.url}/control/settlement-file?{urlencode(query)}") as answer:
            read: bytes = answer.read()
            return read

    def native(self, date: str, psp: str = "southpay") -> list[dict[str, str]]:
        """The rows of a PSP's settlements of that day, all currencies, header and trailer off."""
        found = self.files(date, psp=psp, format="native")
        return [row for name in sorted(found) for row in rows_of(found[name])]


def rows_of(file: bytes) -> list[dict[str, str]]:
    header, names, *rows, trailer = csv.reader(io.StringIO(file.decode(), newline=""), strict=True)
    assert header[0] == "tallystick-settlement"
    assert trailer == ["trailer", str(len(rows)), trailer[2]]
    return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Days]:
    running = RunningSimulator(tmp_path_factory.mktemp("settling"))
    yield Days(running)
    running.kill()


def amounts(rows: list[dict[str, str]], *kinds: str) -> list[tuple[str, str, str]]:
    return [(row["kind"], row["our_ref"], row["gross"]) for row in rows if row["kind"] in kinds]


def test_each_cent_that_moved_is_settled_once_and_paid_out(days: Days) -> None:
    """A charge, a capture, a refund, a refund that came back, a dispute won, money taken back; not what was declined."""
    days.next()
    south = days.psps["southpay"]
    taken, kept, refunded = a_charge(), a_charge(minor=5000), a_charge(minor=3000)
    for charge in (taken, kept, refunded, a_charge("tok_declined")):
        charged(south, charge)
    later = authorised(south, 2000)
    capture = Capture(uuid4().hex, order_of(later), Money(1500, "EUR"), later.psp_reference, final=True)
    sent(south, capture)
    sent(south, Void(uuid4().hex, order_of(given_up := authorised(south)), given_up.psp_reference))
    days.running.control("POST", "/control/reverse", {"subject": taken.payment_order_id})
    reference = days.running.control("GET", f"/control/charges?reference={refunded.call_id}")["charges"][0]["id"]
    refund = Refund(uuid4().hex, refunded.payment_order_id, Money(1000, "EUR"), f"{reference.upper()}")
    sent(south, refund)
    days.running.control("POST", "/control/reverse", {"subject": refund.call_id, "op": "refund"})
    dispute = {"subject": kept.payment_order_id, "amount": 4000, "fee": 1500}
    opened = days.running.control("POST", "/control/disputes", dispute)
    days.running.control("POST", "/control/disputes", {**dispute, "status": "won", "fee_returned": 500})

    rows = days.native(days.settled()["date"])
    assert amounts(rows, "capture") == [
        ("capture", taken.call_id, "12.34"),
        ("capture", kept.call_id, "50.00"),
        ("capture", refunded.call_id, "30.00"),
        ("capture", capture.call_id, "15.00"),
        ("capture", taken.call_id, "-12.34"),
    ]
    assert amounts(rows, "refund", "refund_reversed") == [
        ("refund", refund.call_id, "-10.00"),
        ("refund_reversed", refund.call_id, "10.00"),
    ]
    disputed = [(row["kind"], row["psp_ref"], row["gross"], row["fee"]) for row in rows if "chargeback" in row["kind"]]
    assert disputed == [
        ("chargeback", opened["id"], "-40.00", "15.00"),
        ("chargeback_reversed", opened["id"], "40.00", "-5.00"),
    ]
    assert rows[-1]["kind"] == "payout"
    assert sum(Decimal(row["net"]) for row in rows) == 0
    for row in rows:
        assert Decimal(row["gross"]) - Decimal(row["fee"]) == Decimal(row["net"])


def test_what_comes_after_a_day_is_settled_comes_with_the_next(days: Days) -> None:
    days.next()
    early, late = a_charge(), a_charge()
    charged(days.psps["southpay"], early)
    first = days.settled()
    before = days.files(first["date"])
    charged(days.psps["southpay"], late)
    assert days.settled() == first
    assert days.files(first["date"]) == before
    days.next()
    second = days.settled()
    assert [row["our_ref"] for row in days.native(first["date"]) if row["kind"] == "capture"] == [early.call_id]
    assert [row["our_ref"] for row in days.native(second["date"]) if row["kind"] == "capture"] == [late.call_id]


def test_a_file_is_handed_out_from_any_byte_on(days: Days) -> None:
    days.next()
    charged(days.psps["southpay"], a_charge())
    day = days.settled()["date"]
    [(name, whole)] = days.files(day, psp="southpay").items()
    query = {"date": day, "source": "southpay", "name": name}
    assert [days.bytes(query, start) for start in (7, 500, len(whole))] == [whole[7:], whole[500:], b""]


def test_settled_files_outlive_a_kill(days: Days) -> None:
    days.next()
    charged(days.psps["northpay"], a_charge())
    day = days.settled()["date"]
    before = days.files(day)
    days.running.kill()
    days.running.start()
    assert days.files(day) == before
    assert len(before) >= 2


def test_a_day_before_the_last_one_or_after_today_is_refused(days: Days) -> None:
    days.next()
    days.settled()
    for date in ("2020-01-01", "2999-01-01", "yesterday"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            days.settled(date=date)
        assert refused.value.code == 400


def test_a_negative_settlement_is_carried_to_the_next_one(days: Days) -> None:
    days.next()
    charge = a_charge(minor=9000, currency="CHF")
    charged(days.psps["southpay"], charge)
    days.settled()
    days.next()
    dispute = {"subject": charge.payment_order_id, "fee": 2500}
    days.running.control("POST", "/control/disputes", dispute)
    first = days.settled()
    days.next()
    charged(days.psps["southpay"], a_charge(minor=20_000, currency="CHF"))
    second = days.settled()
    francs = [[row for row in days.native(told["date"]) if row["net_currency"] == "CHF"] for told in (first, second)]
    assert [(row["kind"], row["net"]) for row in francs[0]] == [("chargeback", "-115.00"), ("carried", "115.00")]
    assert francs[1][0]["kind"] == "carried"
    assert francs[1][0]["net"] == "-115.00"
    assert francs[0][-1]["payout_ref"] == number_of(second, "CHF")
    assert francs[1][0]["payout_ref"] == number_of(first, "CHF")
    assert sum(Decimal(row["net"]) for row in francs[1]) == 0


def number_of(told: dict[str, Any], currency: str, psp: str = "southpay") -> str:
    [found] = {str(one["number"]) for one in told["settlements"] if (one["psp"], one["currency"]) == (psp, currency)}
    return found


def test_terms_of_a_day_say_fees_and_the_currency_of_settlement(days: Days) -> None:
    days.next()
    charged(days.psps["southpay"], a_charge(minor=25_000, currency="SEK"))
    terms = {
        "percent": "1.5",
        "fixed": "0.25",
        "markup_percent": "0.1",
        "scheme_percent": "0",
        "interchange_percent_else": "0.2",
        "settles_in": {"SEK": "EUR"},
        "rates": {"SEK/EUR": "0.08694"},
    }
    [row] = [row for row in days.native(days.settled(terms)["date"]) if row["currency"] == "SEK"]
    assert row["net_currency"] == "EUR"
    assert row["fx_rate"] == "0.08694"
    # 250.00 SEK are 21.735, half to even 21.74 EUR; 1.5 % of that are 0.33, and 0.25; 0.1 % are 0.02, 0.2 % are 0.04
    assert (row["commission"], row["markup"], row["scheme"], row["interchange"]) == ("0.58", "0.02", "0.00", "0.04")
    assert row["net"] == "21.10"
    days.next()
    days.settled({})  # back to what is usual


def test_currencies_are_written_with_their_own_digits(days: Days) -> None:
    """Southpay counts pesos in hundredths; the settlement is in pesos."""
    days.next()
    for currency, minor in (("JPY", 1200), ("CLP", 1000), ("KWD", 12_345)):
        charged(days.psps["southpay"], a_charge(minor=minor, currency=currency))
    day = days.settled()["date"]
    rows = [row for row in days.native(day) if row["kind"] == "capture"]
    assert {row["currency"]: row["gross"] for row in rows} == {"JPY": "1200", "CLP": "1000", "KWD": "12.345"}
    [adyen] = days.files(day, psp="southpay", format="adyen").values()
    settled = [row for row in csv.DictReader(io.StringIO(adyen.decode())) if row["Type"] == "Settled"]
    gross = {row["Gross Currency"]: row["Gross Credit (GC)"] for row in settled}
    assert gross == {"JPY": "1200", "CLP": "1000.00", "KWD": "12.345"}


NAMESPACE = {"c": "urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"}


def statement_of(file: bytes, currency: str) -> tuple[Decimal, Decimal, list[tuple[Decimal, str, str]]]:
    """Opening, closing, entries: amount, EndToEndId, text."""
    root = ElementTree.fromstring(file)
    [found] = [each for each in root.iterfind(".//c:Stmt", NAMESPACE) if text(each, "c:Acct/c:Ccy") == currency]
    opening, closing = (signed(each) for each in found.iterfind("c:Bal", NAMESPACE))
    entries = [
        (signed(each), text(each, ".//c:EndToEndId"), text(each, ".//c:Ustrd"))
        for each in found.iterfind("c:Ntry", NAMESPACE)
    ]
    return opening, closing, entries


def text(element: ElementTree.Element, path: str) -> str:
    return element.findtext(path, "", NAMESPACE)


def signed(element: ElementTree.Element) -> Decimal:
    amount = Decimal(text(element, "c:Amt"))
    return amount if text(element, "c:CdtDbtInd") == "CRDT" else -amount


def test_the_bank_states_payouts_and_transfers_and_each_statement_opens_with_the_last(days: Days) -> None:
    days.next()
    provider = provider_of(days.running)
    transfer, failing = a_transfer(7000, "NOK"), a_transfer(8000, "NOK", ending="02")
    for each in (transfer, failing):
        transferred(provider, each)
    charged(days.psps["southpay"], a_charge(minor=100_000, currency="NOK"))
    days.next()  # the transfers are paid by then
    first = days.settled()
    [paid] = [row["net"] for row in days.native(first["date"]) if (row["kind"], row["currency"]) == ("payout", "NOK")]
    days.running.control("POST", "/control/return", {"subject": transfer.call_id, "amount": 6500})
    days.next()
    second = days.settled()
    opening, closing, entries = statement_of(the_statement(days, first["date"]), "NOK")
    batch = number_of(first, "NOK")
    assert opening == 0
    assert [(amount, key) for amount, key, _ in entries if amount < 0] == [(Decimal("-70.00"), transfer.call_id)]
    [(amount, key, remittance)] = [entry for entry in entries if entry[0] > 0]
    assert (amount, key) == (-Decimal(paid), "NOTPROVIDED")
    assert f"batch {batch}, southpay-account" in remittance
    assert closing == opening + sum(amount for amount, _, _ in entries)
    opening, closing, entries = statement_of(the_statement(days, second["date"]), "NOK")
    assert (opening, entries[0][:2]) == (amount - 70, (Decimal("65.00"), transfer.call_id))
    assert closing == opening + 65


def the_statement(days: Days, date: str) -> bytes:
    return next(file for name, file in days.files(date).items() if name.startswith("camt053"))


def test_a_transfer_that_came_back_and_is_paid_again_is_stated_three_times(days: Days) -> None:
    days.next()
    transfer = a_transfer(4000, "DKK")
    transferred(provider_of(days.running), transfer)
    days.next()
    days.running.control("POST", "/control/return", {"subject": transfer.call_id})
    days.running.control("POST", "/control/return", {"subject": transfer.call_id, "again": True})
    day = days.settled()["date"]
    _, closing, entries = statement_of(the_statement(days, day), "DKK")
    assert Counter(amount for amount, _, _ in entries) == {Decimal("-40.00"): 2, Decimal("40.00"): 1}
    assert closing == -40


def test_money_reaches_the_bank_as_many_days_later_as_the_terms_say(days: Days) -> None:
    days.next()
    charged(days.psps["southpay"], a_charge(minor=50_000, currency="PLN"))
    first = days.settled({"bank_days": 2})
    assert "PLN" not in the_statement_or_nothing(days, first["date"])
    days.next()
    assert "PLN" not in the_statement_or_nothing(days, days.settled()["date"])
    days.next()
    assert "PLN" in the_statement_or_nothing(days, days.settled({})["date"])


def the_statement_or_nothing(days: Days, date: str) -> str:
    return next((file.decode() for name, file in days.files(date).items() if name.startswith("camt053")), "")


def test_the_bank_sends_its_day_in_every_format_that_the_terms_name(days: Days) -> None:
    days.next()
    transfer = a_transfer(4100, "USD")
    transferred(provider_of(days.running), transfer)
    days.next()
    days.running.control("POST", "/control/return", {"subject": transfer.call_id})
    formats = ["camt.053", "camt.054", "mt940", "mt942", "bai2", "nacha"]
    day = days.settled({"bank_formats": formats})["date"]
    found = {name.partition("-")[0]: file for name, file in days.files(day).items() if f"-main-{day}" in name}
    assert {*found} == {each.replace(".", "") for each in formats}
    assert all(transfer.call_id.encode() in file.replace(b"\r\n", b"") for file in found.values())
    assert b":61:" in found["mt940"] and b":62F:" in found["mt940"]  # noqa: PT018
    assert b":90D:" in found["mt942"] and b":62F:" not in found["mt942"]  # noqa: PT018
    assert all(len(line) == 94 for line in found["nacha"].decode().splitlines())
    days.next()
    charged(days.psps["southpay"], a_charge(minor=5_000, currency="USD"))
    assert "nacha" not in {name.partition("-")[0] for name in days.files(days.settled()["date"])}, "nothing came back"
    days.next()
    with pytest.raises(HTTPError):
        days.settled({"bank_formats": []})
    days.settled({})


def test_an_operation_that_was_declined_and_is_done_after_all_is_settled_once(days: Days) -> None:
    days.next()
    charge = a_charge(minor=6000)
    charged(days.psps["northpay"], charge)
    days.settled()
    days.next()
    reference = days.running.control("GET", f"/control/charges?reference={charge.call_id}")["charges"][0]["id"]
    refund = Refund(uuid4().hex, charge.payment_order_id, Money(2500, "EUR"), f"ch_{reference}")
    days.running.control("POST", "/control/next", {"op": "refund", "subject": refund.call_id, "fault": "declined"})
    sent(days.psps["northpay"], refund)
    days.settled()
    days.next()
    days.running.control("POST", "/control/reverse", {"subject": refund.call_id, "op": "refund", "again": True})
    last = days.native(days.settled()["date"], "northpay")
    assert amounts(last, "refund") == [("refund", refund.call_id, "-25.00")]
