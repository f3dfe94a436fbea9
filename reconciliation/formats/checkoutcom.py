"""What Checkout.com's reports share: an entity, pay-outs, times of the settlement zone, amounts with eight decimals.

No report of its rows says what a pay-out comes to: the payouts report claims that (`checkoutcom_payouts`).
"""

from __future__ import annotations

import re
from fractions import Fraction

from reconciliation.formats.amounts import FINER, FinerUnits, Rates, decimals_of, slack_at_rate
from reconciliation.formats.chunks import Chunks
from reconciliation.formats.finer import Rounding, whole
from reconciliation.formats.keys import Occurrences, ours, theirs
from reconciliation.formats.records import Columns
from reconciliation.formats.refusing import Unreadable
from reconciliation.formats.shape import NO_KEY, Control, ReadFrom, Refusal
from reconciliation.formats.times import LocalTimes, When
from schemas.masking import masked

_PAYOUT = re.compile(r"[A-Za-z0-9_-]{0,64}")
_CARRY_CALLS = frozenset("crR")
_DISPUTES = frozenset("bB")


class PayoutReport:
    """What is known while one file is read."""

    def __init__(self, source: ReadFrom, columns: Columns) -> None:
        self.chunks = Chunks()
        self.columns = columns
        self.exact, self.rounding, self.occurrences = FinerUnits(), Rounding(), Occurrences()
        self._source, self._rates = source, Rates()
        self._local, self._utc = LocalTimes(source.timezone), LocalTimes("UTC")
        self._entities: set[str] = set()
        self._payouts: set[str] = set()

    @property
    def source(self) -> ReadFrom:
        return self._source

    def when(self, local: str, utc: str = "") -> When:
        """The column in UTC if the report has it, else its twin in the source's zone, which is the entity's."""
        return self._utc[utc] if utc else self._local[local]

    def entity(self, name: str) -> str:
        """Errors: Unreadable `wrong_account`: a source is one entity."""
        if name not in self._entities:
            allowed = self._source.accounts
            if self._entities or not name or (allowed and name not in allowed):
                detail = f"entity {masked(name)[:80]!r} is not the source's, or is a second one"
                raise Unreadable("wrong_account", detail)
            self._entities.add(name)
        return name

    def is_met(self, name: str) -> None:
        if name not in self._entities:
            raise Unreadable("wrong_account", "")

    def payout(self, text: str) -> str:
        if _PAYOUT.fullmatch(text) is None:
            raise Unreadable("bad_row", "not the id of a payout", self.columns.written("payout id"))
        self._payouts.add(text)
        return text

    def key(self, kind: str, reference: str, payment: str, action: str) -> str:
        """Our call id as reference, else the key of their id: of the action, or of the payment."""
        if kind in _CARRY_CALLS:
            return ours(reference) or theirs(self._source.psp, payment if kind == "c" else action or payment)
        return theirs(self._source.psp, action or payment) if kind in _DISPUTES else NO_KEY

    def order(self, reference: str) -> str:
        return "" if ours(reference) else masked(reference)

    def check_rate(self, charged: int, charged_in: str, amount: int, currency: str, rate: str) -> None:
        """That an amount (units of 10⁻⁸) in the payment's currency is the one in the pay-out's. Errors: Unreadable.

        Rates are written without zeros at their end: they are taken as exact to four digits at least.
        """
        exact = self._rates[rate]
        whole_part, _, digits = rate.partition(".")
        slack = slack_at_rate(whole(charged, charged_in), charged_in, currency, f"{whole_part}.{digits.ljust(4, '0')}")
        distance = abs(Fraction(charged, 10**FINER) * exact - Fraction(amount, 10**FINER))
        if distance * 10 ** decimals_of(currency)[1] > slack:
            detail = "the amount in the processing currency at the row's rate is not the one in the holding currency"
            raise Unreadable("row_does_not_tie", detail)

    def is_rate(self, text: str) -> object:
        return text and self._rates[text]

    def check(self) -> None:
        """Errors: Refusal."""
        if not self.chunks.lines:
            raise Refusal("empty", "the file has no line but its header")

    def control(self, what: str, *, has_rows: bool = True) -> Control:
        """Nothing here ties before the payouts report has come, but for pay-outs that the file itself has. `has_rows`: of
        pay-outs; else it stands in for the file of no day."""
        chunks, [entity] = self.chunks, self._entities
        claims = tuple(claim for claim in chunks.claims() if claim.settlement and claim.day is not None)
        claimed = {(claim.settlement, claim.amount.currency) for claim in claims}
        sums = [each for each in chunks.settlements() if each.settlement]
        named, (first, last) = sorted(self._payouts - {""}), chunks.days()
        of = f"payout {named[0]}" if len(named) == 1 and "" not in self._payouts else f"{first} to {last}"
        return Control(
            identity=f"{what} of {of} of {entity}",
            version="",
            account_ids=(entity,),
            first_day=first if has_rows else "",
            last_day=last if has_rows else "",
            lines=chunks.lines,
            claims=claims,
            sums=tuple(e._replace(ties=e.ties and (e.settlement, e.currency) in claimed) for e in sums),
            totals=chunks.totals(),
            notes=self.columns.notes,
        )
