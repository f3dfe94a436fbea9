"""Wrong settings → one line that names the setting, and shows no secret."""

from __future__ import annotations

import pytest

from topics.settings import SettingsError, load_settings

SECRET = "sk_live_never_shown"


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
        ("TALLY_UPSTREAMS", '["my shop"]', "TALLY_UPSTREAMS: .*'my shop'"),
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
