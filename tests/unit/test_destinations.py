"""Destinations and schedules as a seller's request may name them; and who is one person."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from producers.doors.destinations import Sealing
from producers.problems import Problem
from schemas.destinations import IBAN_LENGTHS, Destination, IbanAccount, read_destination
from schemas.payouts import SealedDestination
from schemas.persons import person_of
from schemas.requests import field_errors
from schemas.sellers import SellerRequest
from schemas.sepa import sepa_text
from tests.unit.payouts_room import HARBOUR
from topics.settings import Settings

IBAN = {"type": "iban", "iban": "DE89370400440532013000", "holder": "Anna Beispiel"}
US = {
    "type": "us_account",
    "routing_number": "021000021",
    "account_number": "000123456789",
    "holder": "Ann Smith",
    "account_type": "checking",
}
ADDRESS = {"town": "London", "country": "GB", "street": "Baker St", "building": "221b", "postal_code": "NW1 6XE"}
ABROAD = {"type": "iban", "iban": "GB29NWBK60161331926819", "holder": "Ann Smith"}
PROVIDER = {"type": "provider_account", "provider": "harbour", "account": "acct_77", "holder": "Ann", "country": "US"}

# The registry's own examples (SWIFT, IBAN registry), and one of the longest.
EXAMPLES = (
    "GB29NWBK60161331926819",
    "DE89370400440532013000",
    "FR1420041010050500013M02606",
    "NO9386011117947",
    "CH9300762011623852957",
    "BE68539007547034",
    "MT84MALT011000012345MTLCAST001S",
    "LC55HEMM000100010012001200023015",
    "SA0380000000608010167519",
    "BR1800360305000010009795493C1",
    "PL61109010140000071219812874",
    "XK051212012345678906",
    "VG96VPVG0000012345678901",
)


def wrong(text: str) -> str:
    """The code and field of the first thing that is wrong; nothing where nothing is."""
    try:
        SellerRequest.model_validate_json(text)
    except ValidationError as error:
        first = field_errors(error, text.encode())[0]
        return f"{first.code} {first.field}"
    return ""


def destination(**changed: Any) -> str:
    base = {"us_account": US, "provider_account": PROVIDER}.get(changed.get("type", ""), IBAN)
    return json.dumps({"destination": {**base, **changed}})


@pytest.mark.parametrize("iban", EXAMPLES)
def test_an_iban_is_taken_in_any_case_with_spaces_and_one_wrong_digit_is_refused(iban: str) -> None:
    spaced = " ".join(iban[at : at + 4] for at in range(0, len(iban), 4)).lower()
    assert IbanAccount(type="iban", iban=spaced, holder="A").iban == iban
    for at in range(2, len(iban)):
        if iban[at].isdigit():
            other = iban[:at] + str((int(iban[at]) + 1) % 10) + iban[at + 1 :]
            assert wrong(destination(iban=other)) == "invalid_iban destination.iban", other


@pytest.mark.parametrize(("country", "length"), IBAN_LENGTHS.items())
def test_an_iban_is_as_long_as_its_country_has_them(country: str, length: int) -> None:
    for digits in (length - 5, length - 4, length - 3):
        iban = with_check_digits(country, "1" * digits)
        assert wrong(destination(iban=iban)) == ("" if len(iban) == length else "invalid_iban destination.iban")


def with_check_digits(country: str, account: str) -> str:
    number = "".join(str(int(each, 36)) for each in f"{account}{country}00")
    return f"{country}{98 - int(number) % 97:02}{account}"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (destination(), ""),
        (destination(type="us_account"), ""),
        (destination(type="provider_account"), ""),
        (destination(bic="COBADEFFXXX"), ""),
        (destination(iban="US12345678901234567890"), "invalid_iban destination.iban"),
        (destination(iban="DE01370400440532013000"), "invalid_iban destination.iban"),
        (destination(iban=""), "invalid_iban destination.iban"),
        (destination(iban="ＤＥ89370400440532013000"), "invalid_iban destination.iban"),
        (destination(iban=89370400440532013000), "wrong_type destination.iban"),
        (destination(bic="COBADEF"), "invalid_bic destination.bic"),
        (destination(bic="COBAQQFF"), "invalid_bic destination.bic"),
        (
            destination(type="us_account", routing_number="021000022"),
            "invalid_routing_number destination.routing_number",
        ),
        (
            destination(type="us_account", routing_number="000000000"),
            "invalid_routing_number destination.routing_number",
        ),
        (
            destination(type="us_account", routing_number="02100002"),
            "invalid_routing_number destination.routing_number",
        ),
        (destination(type="us_account", account_number="123"), "invalid_account_number destination.account_number"),
        (destination(type="us_account", account_number="1" * 18), "invalid_account_number destination.account_number"),
        (destination(type="us_account", account_type="giro"), "invalid_destination destination.account_type"),
        (destination(type="us_account", iban="x"), "unknown_field destination.iban"),
        (destination(type="provider_account", country="QQ"), "invalid_country destination.country"),
        (destination(type="provider_account", account="a b"), "invalid_account_number destination.account"),
        (destination(type="provider_account", account="4111111111111111"), "card_number destination.account"),
        (destination(type="cheque"), "invalid_destination destination.type"),
        ('{"destination": {"iban": "DE89370400440532013000"}}', "missing_field destination.type"),
        ('{"destination": "DE89370400440532013000"}', "invalid_destination destination"),
        (destination(holder="x" * 200), "invalid_holder destination.holder"),
        (destination(holder="x" * 70), ""),
        (destination(holder="x" * 71), "invalid_holder destination.holder"),
        (destination(holder="ß" * 36), "invalid_holder destination.holder"),  # 72 letters: ss
        (destination(holder="A\0B"), "invalid_text destination.holder"),
        (destination(holder="A\u202eB"), "invalid_holder destination.holder"),
        (destination(holder="A\u200fB"), "invalid_holder destination.holder"),
        (destination(holder="A\nB"), "invalid_holder destination.holder"),
        (destination(holder="A\u2028B"), "invalid_holder destination.holder"),
        (destination(holder=" "), "invalid_text destination.holder"),
        (destination(holder="---"), "invalid_holder destination.holder"),
        (destination(holder="4111 1111 1111 1111"), "card_number destination.holder"),
        (destination(address=ADDRESS), ""),
        (destination(address={"town": "Zürich", "country": "CH"}), ""),
        (destination(address=None), ""),
        (destination(address="Baker St 221b, London"), "wrong_type destination.address"),
        (destination(address={"town": "London"}), "missing_field destination.address.country"),
        (destination(address={"country": "GB"}), "missing_field destination.address.town"),
        (destination(address={**ADDRESS, "country": "QQ"}), "invalid_country destination.address.country"),
        (destination(address={**ADDRESS, "line": "221b"}), "unknown_field destination.address.line"),
        (destination(address={**ADDRESS, "town": "x" * 36}), "invalid_address destination.address.town"),
        (destination(address={**ADDRESS, "town": "ß" * 18}), "invalid_address destination.address.town"),  # 36 letters
        (destination(address={**ADDRESS, "town": "A\u202eB"}), "invalid_address destination.address.town"),
        (destination(address={**ADDRESS, "town": " "}), "invalid_text destination.address.town"),
        (destination(address={**ADDRESS, "street": "x" * 71}), "invalid_address destination.address.street"),
        (destination(address={**ADDRESS, "building": "x" * 17}), "invalid_address destination.address.building"),
        (destination(address={**ADDRESS, "postal_code": "-"}), "invalid_address destination.address.postal_code"),
        (destination(type="us_account", address=ADDRESS), "unknown_field destination.address"),
    ],
)
def test_a_destination_is_taken_or_the_field_at_fault_is_named(text: str, error: str) -> None:
    assert wrong(text) == error


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Jürgen Groß & Søn GmbH", "Jurgen Gross + Son GmbH"),
        ("Łukasz Żółć", "Lukasz Zolc"),
        ("Анна Петрова", "Anna Petrova"),
        ("Ελένη", "Eleni"),
        ("O’Neill; “Sons”", "O'Neill, .Sons."),
        ("  two   blanks ", "two blanks"),
    ],
)
def test_a_name_is_written_in_the_letters_of_sepa_payments(name: str, plain: str) -> None:
    assert sepa_text(name) == plain


@given(st.text(max_size=80))
def test_a_holder_that_is_taken_fits_whole_and_any_other_is_refused(name: str) -> None:
    if wrong(json.dumps({"destination": {**IBAN, "holder": name}})) == "":
        assert 1 <= len(sepa_text(name)) <= 70
        assert set(sepa_text(name)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/-?:().,'+ ")


@pytest.mark.parametrize(
    ("one", "country", "masked"),
    [
        (IBAN, "DE", "DE89 … 3000"),
        (US, "US", "021000021 … 6789"),
        ({**US, "account_number": "12345"}, "US", "021000021 … 5"),
        (PROVIDER, "US", "harbour … 77"),
        ({**ABROAD, "address": ADDRESS}, "GB", "GB29 … 6819"),
        (ABROAD, "GB", "GB29 … 6819"),  # sealed before banks asked for an address
    ],
)
def test_an_account_is_shown_by_its_ends_and_read_back_whole(one: dict[str, Any], country: str, masked: str) -> None:
    read = read_destination(json.dumps(one))
    assert (read.country, read.masked) == (country, masked)
    assert json.loads(read.model_dump_json(exclude_none=True)) == one
    assert read_destination(TypeAdapter(Destination).dump_json(read, exclude_none=True).decode()) == read


def schedule(**changed: Any) -> str:
    base = {"currency": "EUR", "every": "week", "weekday": 1, "at": "06:00", "minimum": "25.00", "keep": "0.00"}
    named = {name: value for name, value in {**base, **changed}.items() if value is not ...}
    return json.dumps({"schedules": [named]})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (schedule(), ""),
        (schedule(every="day", weekday=...), ""),
        (schedule(every="month", weekday=..., day=-1, at="23:59"), ""),
        (schedule(every="month", weekday=..., day=28), ""),
        (schedule(at="24:00"), "invalid_schedule schedules[0].at"),
        (schedule(at="6:00"), "invalid_schedule schedules[0].at"),
        (schedule(at="06:60"), "invalid_schedule schedules[0].at"),
        (schedule(at="06:00:00"), "invalid_schedule schedules[0].at"),
        (schedule(every="month", weekday=..., day=30), "invalid_schedule schedules[0].day"),
        (schedule(every="month", weekday=..., day=0), "invalid_schedule schedules[0].day"),
        (schedule(every="month", weekday=..., day=-2), "invalid_schedule schedules[0].day"),
        (schedule(every="month", weekday=...), "invalid_schedule schedules[0].day"),
        (schedule(every="month", day=1), "invalid_schedule schedules[0].weekday"),
        (schedule(weekday=8), "invalid_schedule schedules[0].weekday"),
        (schedule(weekday=True), "invalid_schedule schedules[0].weekday"),
        (schedule(every="year"), "invalid_schedule schedules[0].every"),
        (schedule(currency="EURO"), "unknown_currency schedules[0].currency"),
        (schedule(minimum="25"), "wrong_decimals schedules[0].minimum"),
        (schedule(minimum="-1.00"), "negative_amount schedules[0].minimum"),
        (schedule(keep=0), "wrong_type schedules[0].keep"),
        (json.dumps({"schedules": json.loads(schedule())["schedules"] * 2}), "repeated_currency schedules"),
    ],
)
def test_a_schedule_is_taken_or_the_field_at_fault_is_named(text: str, error: str) -> None:
    assert wrong(text) == error


def test_two_names_of_one_person_are_one() -> None:
    assert len({person_of(who) for who in ("Ann", "operator ann", "ANN (key 1a2b3c4d)", "ａｎｎ")}) == 1
    assert len({person_of(who) for who in ("ann", "operator bert", "anne (key 1a2b3c4d)", "schedule")}) == 4


def test_one_account_id_at_two_providers_is_two_accounts_and_the_same_at_one_is_one() -> None:
    both = tuple(HARBOUR.model_copy(update={"name": name}) for name in ("harbour", "beta"))
    sealing = Sealing(Settings(secret="a secret of the tests", payout_providers=both))
    seen = [
        SealedDestination(**sealing.sealed(seller, read_destination(json.dumps(PROVIDER | {"provider": name}))))  # type: ignore[arg-type]
        for seller, name in (("s-1", "harbour"), ("s-2", "harbour"), ("s-1", "beta"))
    ]
    assert [each.provider for each in seen] == ["harbour", "harbour", "beta"]
    assert seen[0].fingerprint == seen[1].fingerprint != seen[2].fingerprint
    iban = SealedDestination(**sealing.sealed("s-1", read_destination(json.dumps(IBAN))))  # type: ignore[arg-type]
    assert iban.provider is None


def test_a_new_account_outside_the_eea_needs_its_holders_address_and_no_other_does() -> None:
    sealing = Sealing(Settings(secret="a secret of the tests", payout_providers=(HARBOUR,)))
    for one in (IBAN, US, PROVIDER, {**IBAN, "iban": "NO9386011117947"}, {**ABROAD, "address": ADDRESS}):
        sealing.sealed("s-1", read_destination(json.dumps(one)))
    for iban in ("GB29NWBK60161331926819", "CH9300762011623852957", "XK051212012345678906"):
        with pytest.raises(Problem) as refused:
            sealing.sealed("s-1", read_destination(json.dumps({**ABROAD, "iban": iban})))
        assert [(each.code, each.field) for each in refused.value.errors] == [
            ("address_required", "destination.address")
        ]


def test_an_address_is_sealed_with_its_account_and_changes_no_fingerprint() -> None:
    sealing = Sealing(Settings(secret="a secret of the tests"))
    one, other = (read_destination(json.dumps({**IBAN, **more})) for more in ({}, {"address": ADDRESS}))
    before = sealing.sealed("s-1", one)
    after = sealing.sealed("s-1", other)
    assert before["fingerprint"] == after["fingerprint"] == "e5f53bfaa9fa3304"
    assert sealing.is_same("s-1", one, before)
    assert not sealing.is_same("s-1", other, before)
    assert "London" not in json.dumps(after)
