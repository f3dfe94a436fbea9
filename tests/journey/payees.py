"""Sellers with destinations, the provider's own books, and the ledger's and wallet's side of them."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any, LiteralString

from operations.bench import payouts
from schemas.currencies import DECIMALS
from topics.runtime.shape.reading import read
from topics.settings import Settings

Sums = Counter[tuple[str, str]]  # what, currency → minor units

_ACCOUNTS: LiteralString = (
    "SELECT account, currency, credits - debits AS held FROM account_view"
    " WHERE account = 'payouts:in-transit' OR account LIKE 'bank:%%'"
)


def iban(number: int, ending: str) -> str:
    """A German account's number, with check digits, that ends so: the provider's simulator goes by that."""
    return payouts.iban(f"37040044{number:08d}{ending}")


def money(minor: int, currency: str) -> str:
    """A decimal string with the currency's decimals."""
    places = DECIMALS[currency]
    return f"{minor // 10**places}.{minor % 10**places:0{places}d}" if places else str(minor)


def transfers(settings: Settings) -> Iterator[dict[str, Any]]:
    """All that the provider has, from its own listing."""
    provider = settings.http_providers[0]
    after = ""
    while True:
        url = f"{provider.url}/v1/transfers?limit=1000{after}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {provider.api_key}"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            page = json.load(reply)
        yield from page["data"]
        if not page["has_more"]:
            return
        after = f"&after={page['data'][-1]['id']}"


def at_provider(settings: Settings) -> Sums:
    """What it has paid out and what is on its way, by its own books."""
    sums: Sums = Counter()
    for each in transfers(settings):
        if each["status"] in ("paid", "accepted"):
            sums[each["status"], each["currency"]] += each["amount"]
    return sums


def in_ledger(settings: Settings) -> Sums:
    """The same by the books: the bank's side of what was paid, and what is in transit."""
    sums: Sums = Counter()
    for row in read(settings, "ledger", _ACCOUNTS):
        if row["held"]:
            what = "accepted" if row["account"] == "payouts:in-transit" else "paid"
            sums[what, row["currency"]] += int(row["held"])
    return sums
