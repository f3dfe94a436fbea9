"""PayPal's transaction detail report (TRR): the records of the settlement report, with a status and with whoever paid.

Records: developer.paypal.com/docs/reports/sftp-reports/transaction-detail. It says what the settlement report says, so one
of the two counts: this one if the source names it as its format; else its transactions are evidence. Names, addresses
and what was bought are not kept, and no refusal shows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

from reconciliation.formats.blocks import first_line
from reconciliation.formats.chunks import Line, as_evidence
from reconciliation.formats.paypal_stl import REQUIRED, PayPalFile
from reconciliation.formats.records import Records
from reconciliation.formats.refusing import Refusals, Unreadable
from reconciliation.formats.shape import Chunk, Control, ReadFrom
from schemas.masking import masked

_STATUS = "transactional status"
_MOVED = {"S": True, "F": True, "P": False, "V": False, "D": False}  # success, partly refunded; pending, void, denied
_OPTIONAL = (
    *("paypal reference id", "paypal reference id type", "insurance amount", "sales tax amount", "shipping amount"),
    *("transaction subject", "transaction note", "payer s account id", "payer address status", "item name", "item id"),
    *("option 1 name", "option 1 value", "option 2 name", "option 2 value"),
    *("auction site", "auction buyer id", "auction closing date", "shipping method", "shipping name"),
    *(f"{of} address {part}" for of in ("shipping", "billing") for part in ("line1", "line2", "city", "state", "zip")),
    *("shipping address country", "billing address country", "consumer id", "first name", "last name"),
    *("consumer business name", "card type", "payment source", "authorization review status"),
    *("protection eligibility", "payment tracking id", "store id", "terminal id", "coupons", "special offers"),
    *("loyalty card number", "checkout type", "3pl reference id", "giftcard id", "bank reference id"),
    *("secondary shipping address line1", "secondary shipping address line2", "secondary shipping address city"),
)
_SHOWN = frozenset((*REQUIRED, _STATUS)) - {"invoice id", "custom field"}


class PayPalTrr:
    name = "paypal_trr"
    version = 1
    provider = "paypal"
    of: Literal["psp", "bank"] = "psp"
    mode: Literal["replace", "union"] = "replace"
    ties = "its footers, as those of paypal_stl; its transactions are evidence, unless the source has this format"

    def sniff(self, head: bytes, name: str) -> int:
        is_theirs = re.match(r'"?(RH|FH|CH)"?,', first_line(head)) is not None
        return 95 if is_theirs and b"transactionalstatus" in re.sub(rb"[\0\s]", b"", head.lower()) else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            file = _Transactions(Records(blocks), source, refusals)
            file.counts = source.counts(self.name)
            yield from file.chunks()
            if not refusals:
                yield file.control()


class _Transactions(PayPalFile):
    """What is known while one file is read."""

    called = "TRR "
    required = (*REQUIRED, _STATUS)
    optional = _OPTIONAL
    counts = False

    def line(self, told: list[str]) -> Line:
        """Errors: Unreadable."""
        line = super().line(told)
        moved = _MOVED.get(status := told[self.place(_STATUS)])
        if moved is None:
            raise Unreadable("schema_drift", f"an unknown transactional status {masked(status)[:12]!r}", _STATUS)
        if not moved:
            self.waits(line)
        return line if moved and self.counts else as_evidence(line)

    def shown(self, row: list[str]) -> list[str]:
        """The columns of money, time and status alone."""
        if row[0] != "SB":
            return row if row[0] in ("SF", "SC", "RF", "RC", "FF", "FH") else row[:1]
        places = {0, *(self.place(name) + 1 for name in _SHOWN)} if self.has_columns else {0}
        return [text if place in places else "" for place, text in enumerate(row)]

    def control(self) -> Control:
        told = super().control()
        return told if self.counts else replace(told, claims=(), sums=(), first_day="", last_day="")
