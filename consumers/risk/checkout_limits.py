"""The default limit of one checkout's amount, by currency.

About a million US dollars by the rates of 2025, rounded to 1, 2 or 5 times a power of ten, so that changing rates matter
little; withdrawn currencies (last of each line) by their last rate. Meant to refuse mistyped amounts, not buyers.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from schemas.currencies import DECIMALS

# Major units: codes.
_TABLE: dict[int, str] = {
    20_000: "CLF UYW",
    200_000: "KWD XAD",
    500_000: "BHD OMR CYP IEP LVL MTL",
    1_000_000: "BMD BND BSD CAD CHE CHF CHW EUR FKP GBP GIP JOD KYD PAB SGD SHP USD USN CUC USS",
    2_000_000: "AUD AWG AZN BAM BBD BOV BZD FJD GEL MXV NZD TND TOP WST XCD XCG ANG AYM BGN DEM LTL NLG XFO",
    5_000_000: "AED BOB BRL BYN DKK ILS LYD MYR PEN PGK PLN QAR RON SAR TMT TTD UYI FIM FRF HRK",
    10_000_000: "BWP CNY COU GHS GTQ HKD MAD MOP NOK SBD SEK SVC TJS ATS EEK",
    20_000_000: "CUP CZK ERN HNL LSL MDL MVR MXN NAD SCR SLE STN SZL TWD ZAR ZMW ZWG SKK",
    50_000_000: "AFN DOP EGP MKD MRU MUR MZN NIO PHP SRD THB TRY UAH UYU BEF LUF YUM",
    100_000_000: "ALL BDT BTN CVE DZD ETB GMD HTG INR ISK KES KGS NPR RSD RUB VED VES VUV XPF CSD",
    200_000_000: "DJF GYD JMD JPY LKR LRD PKR YER ADP ESP GRD PTE SDD SIT",
    500_000_000: "AMD CRC HUF KMF KZT SDG SOS XAF XOF MRO",
    1_000_000_000: "AOA ARS CLP IQD KPW KRW",
    2_000_000_000: "BIF CDF MMK MWK NGN RWF TZS BGL ITL SRG VEB",
    5_000_000_000: "COP KHR MGA MNT SSP UGX RUR ZMK",
    10_000_000_000: "GNF PYG SYP UZS AZM GHC MGF TPE",
    20_000_000_000: "IDR LAK VND BYR MZM ROL SLL STD TMM ZWD ZWL",
    50_000_000_000: "GWP",
    100_000_000_000: "LBP",
    500_000_000_000: "IRR",
    1_000_000_000_000: "BYB TRL",
    5_000_000_000_000: "VEF",
    10_000_000_000_000: "ZWN ZWR",
}
DEFAULTS: Mapping[str, Decimal] = {
    code: Decimal(limit) for limit, codes in _TABLE.items() for code in codes.split() if code in DECIMALS
}


def _currency(code: str) -> str:
    if code not in DECIMALS:
        raise ValueError("not a currency of ISO 4217 that can be charged")
    return code


def _upper(given: Mapping[object, object]) -> dict[str, object]:
    """Parts of a variable's name are lower case."""
    return {str(code).upper(): limit for code, limit in given.items()}


def _by_currency(given: object) -> object:
    """A single number (the setting's former form) holds for every currency; a mapping overrides the defaults."""
    if isinstance(given, Mapping):
        return {**DEFAULTS, **_upper(given)}
    try:
        return dict.fromkeys(DECIMALS, Decimal(str(given)))
    except InvalidOperation:
        raise ValueError("a number, or numbers by currency") from None


_Amounts = dict[Annotated[str, AfterValidator(_currency)], Annotated[Decimal, Field(ge=0)]]
Limits = Annotated[_Amounts, BeforeValidator(_by_currency)]  # of every currency
Some = Annotated[
    _Amounts, BeforeValidator(lambda given: _upper(given) if isinstance(given, Mapping) else given)
]  # of those that are named


def currencies_without_limit(limits: Mapping[str, Decimal]) -> list[str]:
    """Currencies without a limit in table and setting, because the standard has added them since."""
    return sorted(DECIMALS.keys() - limits.keys())


def defaults_table() -> str:
    """The defaults as a Markdown table, for docs/configuration.md."""
    rows = [f"| {limit:,} | {codes} |" for limit, codes in _TABLE.items()]
    return "\n".join(["| major units | currencies |", "|---:|---|", *rows]) + "\n"
