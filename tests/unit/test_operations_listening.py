"""`tally tail` shows what happened and nothing that a buyer typed."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from operations.cli.listening import ShownRecord, UnknownTopic, as_line, redacted_value, topics_named
from operations.cli.terminal import say
from topics.settings import Settings

NOW = datetime(2026, 11, 22, 12, 34, 56, 789_000, tzinfo=UTC)
SECRETS = ("Ann Lee", "ann@example.org", "tok_visa", "for my sister")


def test_names_tokens_and_free_text_of_buyers_are_left_out() -> None:
    asked = {
        "checkout_id": "c-1",
        "buyer_info": {"buyer_account": "b-1", "name": SECRETS[0], "email": SECRETS[1]},
        "payment_method": {"token": SECRETS[2]},
        "description": SECRETS[3],
        "metadata": {"note": SECRETS[3]},
        "payment_orders": [{"payment_order_id": "o-1", "token": SECRETS[2]}],
    }
    told = json.dumps(redacted_value(json.dumps(asked).encode()))
    assert not [secret for secret in SECRETS if secret in told]
    assert "c-1" in told
    assert "o-1" in told


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\xff\xfe", b"[1]", b'"Ann Lee"', b"Ann Lee", b"[" * 200_000]
    + [b'{"a":' * depth + b"1" + b"}" * depth for depth in (900, 100_000)],
    ids=lambda value: f"{len(value or b'')} bytes",
)
def test_of_what_cannot_be_read_only_the_size_is_shown(value: bytes | None) -> None:
    assert redacted_value(value) == f"{len(value or b'')} bytes that are no JSON object"


def test_a_line_says_when_where_what_and_how_much() -> None:
    says = {"gross": {"amount": "12.34", "currency": "EUR"}, "psp": "northpay", "token": "…"}
    line = as_line(ShownRecord(NOW, "executions.v1", "o-1", "PaymentCaptured.v1", "id", says))
    assert line == "12:34:56.789 executions.v1 o-1 PaymentCaptured.v1 gross=12.34 EUR psp=northpay"


def test_a_terminal_is_told_nothing_to_obey(capsys: pytest.CaptureFixture[str]) -> None:
    say(as_line(ShownRecord(NOW, "executions.v1", "\x1b[2J", "X", "id", {"code": "\x1b]0;"})))
    assert capsys.readouterr().out == "12:34:56.789 executions.v1 \\x1b[2J X code=\\x1b]0;\n"


def test_topics_may_be_named_without_version_and_with_prefix() -> None:
    settings = Settings(topic_prefix="p.")
    assert topics_named(settings, ["executions", "p.payments.v1"]) == ["executions.v1", "payments.v1"]


def test_an_unknown_topic_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(UnknownTopic, match=r"executions\.v1"):
        topics_named(Settings(), ["executionz"])
