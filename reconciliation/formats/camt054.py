"""camt.054, ISO 20022's notification of single credits and debits, versions 2 to 8.

It has no balances: nothing of it could be booked, and the statement (camt.053) of the same account tells each entry again. So
its entries are noted, for people who ask what a batch entry of a statement is made of, and count nowhere. Details are as many,
and add up to as much, as their batch says; and to their entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal
from xml.etree.ElementTree import Element

from reconciliation.formats.amounts import MajorUnits, decimals_of
from reconciliation.formats.bank_statements import without_balances
from reconciliation.formats.camt053 import Detail, Document, Statement, currency_of, read
from reconciliation.formats.camt_xml import is_document, text_at
from reconciliation.formats.refusing import Refusals, Unreadable
from reconciliation.formats.shape import NOTED, Chunk, Control, ReadFrom, Refusal

_COUNT = re.compile(r"[0-9]{1,15}", re.ASCII)


class Camt054:
    name = "camt054"
    version = 1
    provider = "iso20022"
    of: Literal["psp", "bank"] = "bank"
    mode: Literal["replace", "union"] = "union"
    ties = (
        "details are as many, and add up to, as their batch says, and to their entry; they are shown and never booked"
    )

    def sniff(self, head: bytes, name: str) -> int:
        return 100 if is_document(head, "camt.054", "2-8") else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        yield from read(blocks, _Notifications(source, Refusals(source.released)))


class _Notifications(Document):
    of = "Ntfctn"
    kind = NOTED

    def check_batches(self, batches: list[Element], details: list[Detail]) -> None:
        if not batches or not details:  # the details are sent by themselves, or not at all
            return
        counts = [text_at(batch, "NbOfTxs") for batch in batches]
        if all(counts):
            if not all(map(_COUNT.fullmatch, counts)):
                raise Unreadable("bad_row", "not a number of payments", "NbOfTxs")
            if sum(map(int, counts)) != len(details):
                raise Unreadable("bad_count", f"{len(details)} details, and {' + '.join(counts)} are said", "NbOfTxs")
        totals = [(text_at(batch, "TtlAmt"), currency_of(batch, "TtlAmt")) for batch in batches]
        said = {each.currency for each in details if each.amount} | {currency for _, currency in totals}
        if len(said) == 1 and all(total for total, _ in totals) and all(each.amount for each in details):
            units = MajorUnits(*decimals_of(said.pop()))
            signs = [-1 if each.direction and each.direction != details[0].direction else 1 for each in details]
            found = sum(sign * units.parse(each.amount) for sign, each in zip(signs, details, strict=True))
            if abs(found) != sum(units.parse(total) for total, _ in totals):
                raise Unreadable("bad_total", "its details do not add up to the batch", "TtlAmt")

    def _end(self) -> None:
        notification, self._now = self._now, Statement()
        self._ended.append(notification)
        if not notification.id or not notification.account:
            raise Unreadable("schema_drift", "a notification without Id or account", "Ntfctn")

    def check(self) -> None:
        if not self._ended and not self.refusals:
            raise Refusal("empty", "the document has no notification")

    def control(self) -> Control:
        names, accounts = [each.id for each in self._ended], [each.account for each in self._ended]
        identity = f"notification {' and '.join(names)} of {' and '.join(dict.fromkeys(accounts))}"
        return without_balances(identity, accounts, self.chunks, self._notes)
