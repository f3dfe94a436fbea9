"""Sellers whose bank gets files: their pay-outs, its reports handed in over HTTP, and its own books."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from operations.stack.home import Home, write_private
from tests.journey.payees import Sums
from tests.journey.till import Till
from tests.simulator.test_bank import iban
from topics.payout_accounts import BankFileAccount, DebtorAccount
from topics.settings import Settings

BANK = "house-bank"
COUNTRY = "AT"  # nobody else is paid out to accounts there
FILE_MAX = 250
# By the account's last digits: what becomes of the pay-out, as far as the bank tells.
ENDINGS = {"50": "paid", "01": "failed", "02": "failed", "03": "returned", "04": "submitted", "05": "failed"}


def bank_account(home: Path) -> BankFileAccount:
    """A cut-off every quarter of an hour, each nearer than the lead: what is asked for is released at once."""
    folder = Home(home).bank
    return BankFileAccount(
        name=BANK,
        adapter="pain001",
        bank_account="house-main",
        countries=frozenset({COUNTRY}),
        currencies=frozenset({"EUR"}),
        debtor=DebtorAccount(name="Journey GmbH", iban=iban("77")),
        cut_offs=tuple(f"{hour:02}:{minute:02}" for hour in range(24) for minute in (0, 15, 30, 45)),
        file_max=FILE_MAX,
        out=folder / "out",
        sent=folder / "sent",
    )


def begin_on_a_monday(settings: Settings) -> None:
    """Banks have no cut-offs on Saturdays and Sundays: the stack's clock begins at eight on the next Monday."""
    now = datetime.now(UTC)
    monday = (now + timedelta(days=7 - now.weekday())).replace(hour=8, minute=0)
    write_private(settings.clock_file, f"{(monday - now).total_seconds():.6f}\n")


def austrian(number: int, ending: str) -> str:
    return iban(ending, COUNTRY, f"19043{number:09}")


@dataclass
class BankMail:
    """Who carries the bank's reports to the door, each as soon as it is there."""

    settings: Settings
    till: Till  # with a key of the scope recon:write
    taken: int = 0
    unknown: int = 0

    def carried(self, unfinished: Callable[[], Sequence[str]]) -> Callable[[], Sequence[str]]:
        """The same question, with the mail carried before each."""

        def asked() -> Sequence[str]:
            self.carry()
            return unfinished()

        return asked

    def carry(self) -> None:
        folder = Home(self.settings.home).bank / "statuses"
        for report in sorted(folder.glob("[!.]*.xml")):
            status, _, answer = self.till.until_answered("POST", f"/v1/bank-status-files/{BANK}", report.read_bytes())
            assert status == 202, (report.name, answer)
            told = json.loads(answer)
            self.taken, self.unknown = self.taken + told["matched"], self.unknown + told["unknown"]
            report.rename(report.with_suffix(".told"))


def at_bank(settings: Settings) -> Iterator[dict[str, Any]]:
    """All lines that the bank has taken, from its own books."""
    files = _control(settings, "limit=1000")["files"]
    for file in files:
        assert file["refusal"] is None, file
        yield from _control(settings, f"reference={file['message_id']}")["lines"]


def sums_at_bank(settings: Settings) -> Sums:
    """What it has paid; what it has paid without a word about it we have in transit still."""
    sums: Sums = Counter()
    for line in at_bank(settings):
        if line["status"] == "paid":
            what = "accepted" if is_silent(line["payout"]) else "paid"
            sums[what, line["currency"]] += line["amount"]
    return sums


def is_silent(payout_id: str) -> bool:
    """By its seller's name."""
    return payout_id.startswith(f"banked-{list(ENDINGS).index('04')}-")


def _control(settings: Settings, query: str) -> dict[str, Any]:
    base = settings.psps[0].url.removesuffix(f"/{settings.psps[0].name}")
    with urllib.request.urlopen(f"{base}/control/bank?{query}", timeout=10) as reply:
        told: dict[str, Any] = json.load(reply)
    return told
