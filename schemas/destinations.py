"""Where a seller's money goes: accounts as they are asked for at a door, and as they are read where they are opened."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, StringConstraints, TypeAdapter
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from schemas.countries import COUNTRIES
from schemas.requests import Country, RequestPart
from schemas.sepa import Holder, SepaText
from schemas.text import FreeText, Refusal, refuse_card_number

# Characters of an IBAN, by country: ISO 13616, as the registry of SWIFT lists them.
_LENGTHS = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24
FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32
LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24
RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
_EEA = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK"
EEA = frozenset(_EEA.split())
IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _LENGTHS.split()}

_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]+")
_WEIGHTS = (3, 7, 1) * 3


def _iban(text: str) -> str:
    """Upper case, without spaces. Errors: PydanticCustomError `invalid_iban`."""
    iban = text.replace(" ", "").upper() if text.isascii() else ""
    if not _IBAN.fullmatch(iban):
        raise PydanticCustomError("invalid_iban", "an IBAN such as DE89 3704 0044 0532 0130 00")
    if len(iban) != IBAN_LENGTHS.get(iban[:2]):
        raise PydanticCustomError(
            "invalid_iban", "not as long as an IBAN of its country, or of a country without IBANs"
        )
    number = int("".join(str(int(each, 36)) for each in iban[4:] + iban[:4]))
    if number % 97 != 1 or not 2 <= int(iban[2:4]) <= 98:  # ISO 7064, MOD 97-10
        raise PydanticCustomError("invalid_iban", "its check digits are wrong")
    return iban


def _routing_number(text: str) -> str:
    """Errors: PydanticCustomError. The American Bankers Association's check digit: weights 3, 7, 1."""
    if sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, text, strict=True)) % 10 or not int(text):
        raise PydanticCustomError("invalid_routing_number", "its check digit is wrong")
    return text


def _of_known_country(bic: str) -> str:
    if bic[4:6] not in COUNTRIES:
        raise PydanticCustomError("invalid_bic", "of no country")
    return bic


Iban = Annotated[str, AfterValidator(_iban)]
Bic = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?$"),
    Refusal("invalid_bic", "8 or 11 capital letters and digits"),
    AfterValidator(_of_known_country),
]
RoutingNumber = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{9}$"),
    Refusal("invalid_routing_number", "nine digits"),
    AfterValidator(_routing_number),
]
AccountNumber = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{4,17}$"), Refusal("invalid_account_number", "4 to 17 digits")
]
ProviderAccountId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$"),
    Refusal("invalid_account_number", "1 to 64 letters, digits or any of . _ : -"),
    AfterValidator(refuse_card_number),
]


class Address(RequestPart):
    """Where an account's holder lives, as ISO 20022 has it: in fields of its own, never in free lines."""

    town: Annotated[str, FreeText(140), SepaText(35, "invalid_address")]
    country: Country
    street: Annotated[str, FreeText(200), SepaText(70, "invalid_address")] | None = None
    building: Annotated[str, FreeText(70), SepaText(16, "invalid_address")] | None = None
    postal_code: Annotated[str, FreeText(70), SepaText(16, "invalid_address")] | None = None


class IbanAccount(RequestPart):
    """A bank account that has an IBAN. Doors refuse one outside the EEA without its holder's address."""

    type: Literal["iban"]
    iban: Iban
    holder: Holder
    bic: Bic | None = None
    address: Address | None = None

    @property
    def needs_address(self) -> bool:
        return self.country not in EEA and self.address is None

    @property
    def country(self) -> str:
        return self.iban[:2]

    @property
    def account(self) -> str:
        """What no other account shares."""
        return self.iban

    @property
    def masked(self) -> str:
        return f"{self.iban[:4]} … {_end(self.iban)}"


class UsAccount(RequestPart):
    """A bank account in the United States."""

    type: Literal["us_account"]
    routing_number: RoutingNumber
    account_number: AccountNumber
    holder: Holder
    account_type: Annotated[Literal["checking", "savings"], Refusal("invalid_destination", "checking or savings")]

    @property
    def country(self) -> str:
        return "US"

    @property
    def account(self) -> str:
        return f"{self.routing_number}:{self.account_number}"

    @property
    def masked(self) -> str:
        return f"{self.routing_number} … {_end(self.account_number)}"


class ProviderAccount(RequestPart):
    """An account at a provider of pay-outs, by the provider's own name for it."""

    type: Literal["provider_account"]
    provider: Annotated[
        str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$"), Refusal("no_provider", "the name of a provider")
    ]
    account: ProviderAccountId
    holder: Holder
    country: Country

    @property
    def masked(self) -> str:
        return f"{self.provider} … {_end(self.account)}"


def _end(account: str) -> str:
    """The last four characters; of short ones fewer, so that most stay hidden."""
    return account[-min(4, len(account) // 3) :] if len(account) >= 3 else ""


_KINDS: dict[str, type[IbanAccount | UsAccount | ProviderAccount]] = {
    "iban": IbanAccount,
    "us_account": UsAccount,
    "provider_account": ProviderAccount,
}


def _by_type(value: Any) -> Any:
    """Read as what its `type` names, so that errors name the field and no kind. Errors: ValidationError."""
    if isinstance(value, RequestPart):
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError("invalid_destination", "an object with its type, account and holder")
    kind = value.get("type")
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind].model_validate(value)
    wrong = PydanticCustomError("invalid_destination", "iban, us_account or provider_account")
    line = InitErrorDetails(type=wrong if "type" in value else "missing", loc=("type",), input=None)
    raise ValidationError.from_exception_data("destination", [line], hide_input=True)


Destination = Annotated[IbanAccount | UsAccount | ProviderAccount, BeforeValidator(_by_type)]
_DESTINATION: TypeAdapter[IbanAccount | UsAccount | ProviderAccount] = TypeAdapter(Destination)


def read_destination(text: str) -> IbanAccount | UsAccount | ProviderAccount:
    """What was sealed, opened. Errors: ValidationError."""
    return _DESTINATION.validate_json(text)


def bound_to(seller_account: str, kind: str) -> str:
    """What a sealed destination is bound to: nobody can move one to another seller."""
    return f"{seller_account}:{kind}"
