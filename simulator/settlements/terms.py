"""What PSPs charge, in which currency they settle, how late their money is: JSON of a person or test → terms of a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Literal, get_args

from simulator.currencies import ISO
from simulator.settlements.model import Fee
from simulator.wire import Problem, Refused

Format = Literal[
    "adyen",
    "stripe",
    "paypal",
    "native",
    "checkoutcom",  # a settlement breakdown for each pay-out, and the payouts report
    "checkoutcom_actions",  # the same by financial actions
    # Reports beside those that settle: what has happened with payments, once more.
    "adyen_accounting",
    "stripe_activity",
    "paypal_trr",
]
FORMATS: tuple[Format, ...] = get_args(Format)
BankFormat = Literal["camt.053", "camt.054", "mt940", "mt942", "bai2", "nacha"]
BANK_FORMATS: tuple[BankFormat, ...] = get_args(BankFormat)
_USUAL: Mapping[str, Format] = {"northpay": "stripe", "southpay": "adyen"}


@dataclass(frozen=True, slots=True)
class Terms:
    """Percentages and amounts are exact decimals, amounts in major units of the settlement's currency."""

    percent: str = "1.2"  # of a capture: commission
    fixed: str = "0.10"
    markup_percent: str = "0"
    scheme_percent: str = "0.05"
    interchange_percent: Mapping[str, str] = field(default_factory=lambda: {"amex": "0.3"})
    interchange_percent_else: str = "0.2"
    refund_fixed: str = "0"
    settles_in: Mapping[str, str] = field(default_factory=dict)  # currency of payments → that of their settlement
    rates: Mapping[str, str] = field(default_factory=dict)  # "SEK/EUR" → how much EUR one SEK is
    formats: Mapping[str, Format] = field(default_factory=lambda: dict(_USUAL))
    bank_days: int = 0  # from a settlement to its money at the bank
    bank_account: str = "main"
    bank_formats: tuple[BankFormat, ...] = ("camt.053",)  # all that the bank sends of a day

    def of_capture(self, minor: int, currency: str, scheme: str) -> Fee:
        """The fee of a capture in the settlement's currency, in minor units; each part is rounded half up."""
        interchange = self.interchange_percent.get(scheme, self.interchange_percent_else)
        return Fee(
            _share(minor, self.percent) + _minor(self.fixed, currency),
            _share(minor, self.markup_percent),
            _share(minor, self.scheme_percent),
            _share(minor, interchange),
        )

    def of_refund(self, currency: str) -> Fee:
        return Fee(_minor(self.refund_fixed, currency))

    def settlement_currency(self, currency: str) -> tuple[str, str]:
        """The currency that payments are settled in, and the rate; no rate if it is their own."""
        settled = self.settles_in.get(currency, currency)
        return (settled, "") if settled == currency else (settled, self.rates[f"{currency}/{settled}"])

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def _share(minor: int, percent: str) -> int:
    return int((minor * Decimal(percent) / 100).quantize(Decimal(1), ROUND_HALF_UP))


def _minor(amount: str, currency: str) -> int:
    return int(Decimal(amount).scaleb(ISO[currency]).quantize(Decimal(1), ROUND_HALF_UP))


def read_terms(value: object) -> Terms:
    """Errors: Refused INVALID that names the field."""
    if not isinstance(value, dict) or not value.keys() <= {each.name for each in fields(Terms)}:
        raise Refused(Problem.INVALID, f"terms: an object of {', '.join(each.name for each in fields(Terms))}")
    for name, given in value.items():
        if not _fits(name, given):
            raise Refused(Problem.INVALID, f"terms.{name}: {given!r} does not fit")
    terms = Terms(**value)
    if "bank_formats" in value:
        terms = replace(terms, bank_formats=tuple(value["bank_formats"]))
    missing = [f"{one}/{other}" for one, other in terms.settles_in.items() if f"{one}/{other}" not in terms.rates]
    if missing:
        raise Refused(Problem.INVALID, f"terms.rates: {missing[0]} is missing")
    return terms


def _fits(name: str, given: object) -> bool:
    match name:
        case "bank_days":
            return isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 30
        case "bank_account":
            return isinstance(given, str) and given.isascii() and given.replace("-", "").isalnum()
        case "formats":
            return isinstance(given, dict) and all(each in FORMATS for each in given.values())
        case "bank_formats":
            return isinstance(given, list) and bool(given) and all(each in BANK_FORMATS for each in given)
        case "settles_in":
            return isinstance(given, dict) and all(one in ISO and other in ISO for one, other in given.items())
        case "interchange_percent" | "rates":
            return isinstance(given, dict) and all(_is_decimal(each) for each in given.values())
    return _is_decimal(given)


def _is_decimal(given: object) -> bool:
    try:
        return isinstance(given, str) and Decimal(0) <= Decimal(given) < 10**9
    except InvalidOperation:
        return False
