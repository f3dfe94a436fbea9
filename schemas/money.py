"""Amounts: a decimal string with an ISO 4217 code on every wire, minor units as an integer inside. Never a float."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from schemas.currencies import DECIMALS

DIGITS_MAX = 15  # of an amount from outside; our totals may grow to a bigint's limit
MINOR_MAX = 2**63 - 1
_PARSED_MAX = 10**DIGITS_MAX
_WIRE_MAX = len(f"-{MINOR_MAX}.")

_ZERO_TO = range(max(DECIMALS.values()) + 1)
_SHAPES = tuple(
    re.compile(rf"-?(?:0|[1-9][0-9]*)\.[0-9]{{{decimals}}}" if decimals else r"-?(?:0|[1-9][0-9]*)")
    for decimals in _ZERO_TO
)
_SHAPE_OF = {currency: _SHAPES[decimals].fullmatch for currency, decimals in DECIMALS.items()}
_ANY_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")


class InvalidMoney(ValueError):
    """An amount or a currency is invalid, or the amount does not fit the currency. `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def exponent(currency: str) -> int:
    """The currency's number of decimals. Errors: InvalidMoney `unknown_currency`."""
    try:
        return DECIMALS[currency]
    except KeyError:
        raise InvalidMoney("unknown_currency", "not a currency of ISO 4217 that can be charged") from None


@dataclass(frozen=True, slots=True)
class Money:
    """`minor` units (cents, yen, fils) of one currency; at most 64 bits, signed."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise InvalidMoney("invalid_amount", "minor units are an integer")
        _check_range(self.minor)

    @classmethod
    def parse(cls, amount: str, currency: str, *, signed: bool = False) -> Money:
        """ "12.34" EUR, "12" JPY, "1.234" BHD: exact decimals, at most 15 digits.

        Errors: InvalidMoney `unknown_currency`, `wrong_decimals`, `amount_too_large`, `negative_amount`,
        `invalid_amount` (anything that is not a plain decimal number).
        """
        money = cls.from_wire(amount, currency)
        if not -_PARSED_MAX < money.minor < _PARSED_MAX:
            raise InvalidMoney("amount_too_large", f"an amount has at most {DIGITS_MAX} digits")
        if money.minor < 0 and not signed:
            raise InvalidMoney("negative_amount", "the amount must not be negative")
        return money

    @classmethod
    def from_wire(cls, amount: str, currency: str) -> Money:
        """As `parse`, for our own events: signed, and up to 64 bits."""
        shape = _SHAPE_OF.get(currency)
        if shape is None or shape(amount) is None:
            raise _why_not(amount, currency)
        if len(amount) > _WIRE_MAX:
            raise InvalidMoney("amount_too_large", "an amount has at most 64 bits in minor units")
        minor = int(amount.replace(".", ""))
        if not minor and amount[0] == "-":
            raise InvalidMoney("invalid_amount", "zero has no sign")
        return _made(minor, currency)

    @classmethod
    def zero(cls, currency: str) -> Money:
        return cls(0, currency)

    @property
    def amount(self) -> str:
        """The decimal string: "-0.05", "12", "1.234"."""
        decimals = exponent(self.currency)
        if not decimals:
            return str(self.minor)
        digits = str(abs(self.minor)).zfill(decimals + 1)
        return f"{'-' if self.minor < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"

    def wire(self) -> dict[str, str]:
        return {"amount": self.amount, "currency": self.currency}

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"

    def __add__(self, other: Money) -> Money:
        return _made(self.minor + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return _made(self.minor - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return _made(-self.minor, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.minor > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.minor >= self._same(other)

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise InvalidMoney("currency_mismatch", f"{other.currency} is not {self.currency}")
        return other.minor

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _validated, serialization=core_schema.plain_serializer_function_ser_schema(Money.wire)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "title": "Money",
            "type": "object",
            "properties": {
                "amount": {
                    "type": "string",
                    "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]{1,4})?$",
                    "description": "a decimal number with exactly the currency's decimals",
                },
                "currency": {"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217"},
            },
            "required": ["amount", "currency"],
            "additionalProperties": False,
        }


# Frozen dataclasses set each field through object.__setattr__; the slots themselves are three times as fast.
_new = object.__new__
_set_minor = vars(Money)["minor"].__set__
_set_currency = vars(Money)["currency"].__set__


def _made(minor: int, currency: str) -> Money:
    """Money from an integer that is known to be valid, without checks."""
    if not -MINOR_MAX <= minor <= MINOR_MAX:
        _check_range(minor)
    money = _new(Money)
    _set_minor(money, minor)
    _set_currency(money, currency)
    return money


def _check_range(minor: int) -> None:
    if not -MINOR_MAX <= minor <= MINOR_MAX:
        raise InvalidMoney("amount_too_large", "an amount has at most 64 bits in minor units")


def _why_not(amount: str, currency: str) -> InvalidMoney:
    decimals = DECIMALS.get(currency)
    if decimals is None:
        return InvalidMoney("unknown_currency", "not a currency of ISO 4217 that can be charged")
    if _ANY_NUMBER.fullmatch(amount):
        return InvalidMoney("wrong_decimals", f"{currency} has {decimals} decimals")
    return InvalidMoney("invalid_amount", 'an amount is a plain decimal number such as "12.34"')


def _validated(value: object) -> Money:
    """Money from itself or from its wire format."""
    if type(value) is Money:
        return value
    if type(value) is dict and len(value) == 2:
        amount, currency = value.get("amount"), value.get("currency")
        if type(amount) is str and type(currency) is str:
            try:
                return Money.from_wire(amount, currency)
            except InvalidMoney as error:
                raise PydanticCustomError(error.code, "{why}", {"why": str(error)}) from None
    raise PydanticCustomError("invalid_amount", "money is an object with `amount` and `currency`, both strings")


def sums(amounts: Iterable[Money]) -> tuple[Money, ...]:
    """The sum of each currency, by code."""
    totals: dict[str, int] = {}
    for amount in amounts:
        totals[amount.currency] = totals.get(amount.currency, 0) + amount.minor
    return tuple(Money(minor, currency) for currency, minor in sorted(totals.items()))
