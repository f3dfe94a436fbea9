"""Wrong settings → one line that names the setting, and shows no secret."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from consumers.risk import checkout_limits
from operations.stack.settings import load_settings
from schemas.currencies import DECIMALS
from topics.settings import SettingsError

SECRET = "sk_live_never_shown"

HARBOUR = {"name": "harbour", "adapter": "harbour", "url": "http://h", "api_key": "key", "bank_account": "main"}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TALLY_API_PORT", "x", "TALLY_API_PORT: .*integer.*'x'"),
        ("TALLY_PSPS", SECRET, "TALLY_PSPS: not JSON"),
        ("TALLY_PSPS", f'[{{"name": "np", "api_key": "{SECRET}"}}]', "TALLY_PSPS__0__ADAPTER: Field required$"),
        ("TALLY_PSPS", f'[{{"webhook_secrets": ["{SECRET[:9]}"]}}]', "TALLY_PSPS__0"),
        ("TALLY_KAFKA_OPTIONS", f'{{"sasl.password": ["{SECRET}"]}}', "TALLY_KAFKA_OPTIONS__SASL.PASSWORD"),
        ("TALLY_DSNS", f'["{SECRET}"]', "TALLY_DSNS"),
        ("TALLY_RISK", '{"blocked_countries": ["kp"]}', "TALLY_RISK__BLOCKED_COUNTRIES: .*ISO 3166-1.*'kp'"),
        ("TALLY_PAYOUT_COUNTRIES_BLOCKED", '["DE", "ZZ"]', "TALLY_PAYOUT_COUNTRIES_BLOCKED: .*ISO 3166-1"),
        (
            "TALLY_PAYOUT_PROVIDERS",
            "[" + ",".join([json.dumps({**HARBOUR, "api_key": SECRET})] * 2) + "]",
            "TALLY_PAYOUT_PROVIDERS: .*'harbour'",
        ),
        ("TALLY_PAYOUT_PROVIDERS", json.dumps([{**HARBOUR, "name": "Big Bank"}]), "TALLY_PAYOUT_PROVIDERS__0__NAME"),
        ("TALLY_PAYOUTS", '{"screening_life_s": 86401}', "TALLY_PAYOUTS__SCREENING_LIFE_S: .*86400"),
        ("TALLY_PAYOUTS", '{"release_life_s": 86401}', "TALLY_PAYOUTS__RELEASE_LIFE_S: .*86400"),
        ("TALLY_FX", '[{"currency": "EUR", "payout_currency": "USD", "rate": 1.08}]', "TALLY_FX__0__RATE"),
        (
            "TALLY_FX",
            '[{"currency": "EUR", "payout_currency": "USD", "rate": "0.0"}]',
            "TALLY_FX__0__RATE: .*more than",
        ),
        ("TALLY_FX", '[{"currency": "EUR", "payout_currency": "EUR", "rate": "1"}]', "TALLY_FX__0: .*EUR twice"),
        (
            "TALLY_FX",
            "[" + ",".join(['{"currency": "EUR", "payout_currency": "USD", "rate": "1.08"}'] * 2) + "]",
            "TALLY_FX: .*EUR to USD has two rates",
        ),
        ("TALLY_UPSTREAMS", '["my shop"]', "TALLY_UPSTREAMS: .*'my shop'"),
        (
            "TALLY_RISK",
            '{"checkout_amount_max": {"XYZ": 5}}',
            "TALLY_RISK__CHECKOUT_AMOUNT_MAX__XYZ: .*ISO 4217.*'XYZ'",
        ),
        ("TALLY_RISK", '{"checkout_amount_max": {"VND": null}}', "TALLY_RISK__CHECKOUT_AMOUNT_MAX__VND: .*None"),
        ("TALLY_RISK", '{"checkout_amount_max": {"VND": -1}}', "TALLY_RISK__CHECKOUT_AMOUNT_MAX__VND: .*-1"),
        ("TALLY_RISK", '{"checkout_amount_max": null}', "TALLY_RISK__CHECKOUT_AMOUNT_MAX: .*by currency"),
        ("TALLY_RISK", '{"checkout_amount_max": "lots"}', "TALLY_RISK__CHECKOUT_AMOUNT_MAX: .*by currency"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line_without_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=says) as refused:
        load_settings()
    assert "\n" not in str(refused.value)
    assert SECRET[:9] not in str(refused.value)


def test_a_provider_of_pay_outs_is_not_called_like_a_psp() -> None:
    psp = {"name": "harbour", "adapter": "northpay", "url": "http://127.0.0.1:1", "api_key": SECRET}
    with pytest.raises(SettingsError, match=r"TALLY_PAYOUT_PROVIDERS: .*'harbour'"):
        load_settings({"TALLY_PSPS": json.dumps([psp]), "TALLY_PAYOUT_PROVIDERS": json.dumps([HARBOUR])})


@pytest.mark.parametrize(
    ("name", "value", "member"),
    [
        ("TALLY_RISK", '{"checkout_amount_max": {"VND": 1, "USD": 5, "VND": 2}}', "VND"),
        ("TALLY_RISK", '{"checkout_amount_max": {"VND": 1, "vnd": 2}}', "vnd"),
        ("TALLY_RISK", '{"buyer_checkouts_per_hour_max": 1, "buyer_checkouts_per_hour_max": 1}', "buyer_check"),
        ("TALLY_RISK__CHECKOUT_AMOUNT_MAX", '{"VND": 1, "VND": 2}', "VND"),
        ("TALLY_PSPS", f'[{{"name": "np", "api_key": "{SECRET}", "api_key": "{SECRET}2"}}]', "api_key"),
        ("TALLY_ROUTING", '[{"psp": "a", "weight": 1, "weight": 9}]', "weight"),
        ("TALLY_DSNS", f'{{"tally_ops": "{SECRET}", "tally_ops": "{SECRET}2"}}', "tally_ops"),
    ],
)
@pytest.mark.parametrize("source", ["the environment", "a file", "the running stack"])
def test_a_member_that_stands_twice_in_a_setting_stops_the_start_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, name: str, value: str, member: str
) -> None:
    if source == "the environment":
        monkeypatch.setenv(name, value)
    if source == "a file":
        monkeypatch.setenv("TALLY_SECRETS_DIR", str(tmp_path))
        (tmp_path / name).write_text(value)
    with pytest.raises(SettingsError, match=f"^{name.partition('__')[0]}: '{member}.* stands twice") as refused:
        load_settings({name: value} if source == "the running stack" else None)
    assert SECRET[:9] not in str(refused.value)


def test_one_part_of_a_setting_may_still_be_set_beside_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_RISK", '{"buyer_checkouts_per_hour_max": 5, "checkout_amount_max": {"VND": 1}}')
    monkeypatch.setenv("TALLY_RISK__BUYER_CHECKOUTS_PER_HOUR_MAX", "7")
    monkeypatch.setenv("TALLY_RISK__CHECKOUT_AMOUNT_MAX__VND", "2")
    risk = load_settings().risk
    assert (risk.buyer_checkouts_per_hour_max, risk.checkout_amount_max["VND"]) == (7, 2)


def test_a_limit_that_is_named_holds_and_all_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = load_settings().risk.checkout_amount_max
    monkeypatch.setenv("TALLY_RISK", '{"checkout_amount_max": {"VND": "500000000", "KWD": 0}}')
    monkeypatch.setenv("TALLY_RISK__CHECKOUT_AMOUNT_MAX__BHD", "1.5")
    given = load_settings().risk.checkout_amount_max
    assert {code: limit for code, limit in given.items() if usual[code] != limit} == {
        "VND": 500_000_000,
        "KWD": 0,
        "BHD": Decimal("1.5"),
    }


@pytest.mark.parametrize("old", ['{"checkout_amount_max": 5000}', '{"checkout_amount_max": "5000"}'])
def test_the_one_number_of_older_settings_still_holds_in_every_currency(
    monkeypatch: pytest.MonkeyPatch, old: str
) -> None:
    monkeypatch.setenv("TALLY_RISK", old)
    assert load_settings().risk.checkout_amount_max == dict.fromkeys(DECIMALS, Decimal(5000))


def test_a_currency_that_the_standard_gets_stops_the_start_until_it_has_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(DECIMALS, "NEW", 2)
    with pytest.raises(SettingsError, match=r"TALLY_RISK: .*no checkout_amount_max for NEW"):
        load_settings()
    monkeypatch.setenv("TALLY_RISK", '{"checkout_amount_max": {"NEW": 7}}')
    assert load_settings().risk.checkout_amount_max["NEW"] == 7


def test_the_page_of_settings_names_the_limit_of_each_currency_once() -> None:
    rows = [row.split("|") for row in checkout_limits.defaults_table().splitlines()[2:]]
    named = [(code, Decimal(row[1].replace(",", ""))) for row in rows for code in row[2].split()]
    assert sorted(named) == sorted(load_settings().risk.checkout_amount_max.items())


def test_a_setting_may_come_from_a_file_of_its_name_and_the_environment_goes_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TALLY_SECRETS_DIR", str(tmp_path))
    (tmp_path / "TALLY_SECRET").write_text("from a file, its end of line left out\n")
    (tmp_path / "TALLY_KAFKA_OPTIONS").write_text('{"sasl.password": "p\\u0027\\\\ $x"}')
    (tmp_path / "TALLY_DATABASE").write_text("of_the_file")
    (tmp_path / "POSTGRES_PASSWORD").write_text("nobody's setting")
    monkeypatch.setenv("TALLY_DATABASE", "of_the_environment")
    settings = load_settings({"TALLY_SECRET": "of the running stack", "TALLY_API_HOST": "of_the_running_stack"})
    assert settings.secret == "from a file, its end of line left out"
    assert settings.kafka_options == {"sasl.password": "p'\\ $x"}
    assert (settings.database, settings.api_host) == ("of_the_environment", "of_the_running_stack")


def test_a_folder_of_secrets_that_is_not_there_and_a_wrong_secret_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TALLY_SECRETS_DIR", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match=r"TALLY_SECRETS_DIR: .*missing cannot be read"):
        load_settings()
    monkeypatch.setenv("TALLY_SECRETS_DIR", str(tmp_path))
    (tmp_path / "TALLY_PSPS").write_text(SECRET)
    with pytest.raises(SettingsError, match="TALLY_PSPS: not JSON") as refused:
        load_settings()
    assert SECRET[:9] not in str(refused.value)
