"""What each answer of a pay-out provider means, and each of its webhooks; and whatever else a network can deliver."""

from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.doors.notifications import payout_event_of
from psp.harbour import Harbour
from psp.payout_port import (
    Accepted,
    Failed,
    Paid,
    Rejected,
    Returned,
    Transfer,
    TransferReference,
    TransferReply,
    TransferState,
    transfer_reply_from_json,
)
from psp.port import ListingError
from psp.registry import make_providers, provider_adapters
from psp.replies import NothingHappened, NotThere, Unknown
from psp.webhooks import genuine, mac
from schemas.money import Money
from tests.unit.payout_cases import notified
from tests.unit.test_psp_replies import BODIES, HEADERS, as_bytes
from topics.payout_accounts import PayoutProviderAccount

HARBOUR = Harbour("harbour", "http://provider.test/harbour", "secret-key", ("s" * 16,))
AMOUNT = Money(12_000, "EUR")
ASKED = TransferReference("0f" * 16, AMOUNT)
ACCOUNT = {"type": "iban", "iban": "DE89370400440532013000", "holder": "Ada Lovelace"}
TRANSFER = Transfer(ASKED.call_id, "payout-1", AMOUNT, ACCOUNT)
OK: dict[str, Any] = {
    "id": "tr_1",
    "status": "accepted",
    "code": None,
    "amount": 12_000,
    "returned_amount": None,
    "currency": "EUR",
    "reference": ASKED.call_id,
    "payout": "payout-1",
    "created": 1_772_366_400,
}
BACK = OK | {"status": "returned", "code": "refused", "returned_amount": 11_500}


def error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "…"}}


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

STATES: dict[str, tuple[dict[str, Any], TransferReply]] = {
    "accepted": (OK, Accepted("tr_1")),
    "paid": (OK | {"status": "paid"}, Paid("tr_1")),
    "rejected": (OK | {"status": "rejected", "code": "account_closed"}, Rejected("account_closed", "tr_1")),
    "failed": (OK | {"status": "failed", "code": "account_blocked"}, Failed("account_blocked", "tr_1")),
    "failed, odd code": (OK | {"status": "failed", "code": "\0"}, Failed("unspecified", "tr_1")),
    "failed, no code": (OK | {"status": "failed"}, Failed("unspecified", "tr_1")),
    "returned": (BACK, Returned("refused", "tr_1", Money(11_500, "EUR"))),
    "added field": (OK | {"eta": {}}, Accepted("tr_1")),
    "another amount": (OK | {"amount": 11_999}, Unknown("amount_mismatch")),
    "another currency": (OK | {"currency": "USD"}, Unknown("amount_mismatch")),
    "another reference": (OK | {"reference": "x"}, Unknown("reference_mismatch")),
    "rejected, another reference": (OK | {"status": "rejected", "reference": ""}, Unknown("reference_mismatch")),
    "rejected, another amount": (OK | {"status": "rejected", "amount": 1}, Unknown("amount_mismatch")),
    "new status": (OK | {"status": "thinking"}, Unknown("unreadable")),
    "amount as text": (OK | {"amount": "12000"}, Unknown("unreadable")),
    "amount as float": (OK | {"amount": 12_000.0}, Unknown("unreadable")),
    "amount of nothing": (OK | {"amount": 0}, Unknown("unreadable")),
    "amount below nothing": (OK | {"amount": -12_000}, Unknown("unreadable")),
    "amount past 64 bits": (OK | {"amount": 2**63}, Unknown("unreadable")),
    "currency in lower case": (OK | {"currency": "eur"}, Unknown("unreadable")),
    "no such currency": (OK | {"currency": "ZZZ"}, Unknown("unreadable")),
    "id with NUL": (OK | {"id": "a\0b"}, Unknown("unreadable")),
    "no id": (OK | {"id": ""}, Unknown("unreadable")),
    "year 2^60": (OK | {"created": 2**60}, Unknown("unreadable")),
    "returned, and not how much": (BACK | {"returned_amount": None}, Unknown("unreadable")),
    "returned more than was sent": (BACK | {"returned_amount": 12_001}, Unknown("unreadable")),
    "returned nothing": (BACK | {"returned_amount": 0}, Unknown("unreadable")),
    "paid, and something came back": (BACK | {"status": "paid"}, Unknown("unreadable")),
    "nothing": ({}, Unknown("unreadable")),
}


@pytest.mark.parametrize("case", STATES)
def test_what_a_transfer_in_an_answer_means(case: str) -> None:
    """To a send, and to a question."""
    body, meaning = STATES[case]
    assert HARBOUR.read_transfer(ASKED, 200, {}, orjson.dumps(body)) == meaning
    assert HARBOUR.read_find(ASKED, 200, {}, orjson.dumps({"data": [body], "has_more": False})) == meaning


REFUSED: dict[str, tuple[int, dict[str, Any], TransferReply]] = {
    "invalid": (422, error("parameter_invalid"), Rejected("provider_rejected_request")),
    "key": (401, error("api_key_invalid"), NothingHappened("unauthorised")),
    "conflict": (409, error("idempotency_key_in_use"), Unknown("key_conflict")),
    "429": (429, {}, NothingHappened("rate_limited", 7.0)),
    "503, its own": (503, error("not_processed"), NothingHappened("unavailable", 7.0)),
    "503 of a proxy": (503, {"error": "upstream"}, Unknown("http_503")),
    "500": (500, error("internal"), Unknown("http_500")),
    "500 that says not processed": (500, error("not_processed"), Unknown("http_500")),
    "500 that says invalid": (500, error("parameter_invalid"), Unknown("http_500")),
    "a proxy's 422": (422, {}, Unknown("http_422")),
    "404": (404, error("not_found"), Unknown("http_404")),
    "redirect": (302, OK, Unknown("http_302")),
    "201": (201, OK, Unknown("http_201")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_another_answer_than_200_to_a_send_means(case: str) -> None:
    status, body, meaning = REFUSED[case]
    assert HARBOUR.read_transfer(ASKED, status, {"Retry-After": "7"}, orjson.dumps(body)) == meaning


@pytest.mark.parametrize("case", REFUSED)
def test_another_answer_than_200_to_a_question_says_nothing(case: str) -> None:
    status, body, _ = REFUSED[case]
    assert isinstance(HARBOUR.read_find(ASKED, status, {}, orjson.dumps(body)), Unknown)


@pytest.mark.parametrize(
    ("found", "more", "meaning"),
    [
        ([], False, NotThere()),
        ([], True, Unknown("several_transfers")),
        ([OK, OK], False, Unknown("several_transfers")),
        ([OK], True, Unknown("several_transfers")),
    ],
)
def test_a_question_that_finds_none_or_several(found: list[object], more: bool, meaning: TransferReply) -> None:
    body = orjson.dumps({"data": found, "has_more": more})
    assert HARBOUR.read_find(ASKED, 200, {}, body) == meaning


def test_an_answer_that_says_a_thing_twice_is_unknown() -> None:
    twice = orjson.dumps(OK).replace(b'"amount":', b'"amount":1,"amount":', 1)
    assert isinstance(HARBOUR.read_transfer(ASKED, 200, {}, twice), Unknown)


@given(
    BODIES | st.sampled_from([OK, BACK]).map(as_bytes).flatmap(lambda b: st.integers(0, len(b)).map(lambda n: b[:n]))
)
def test_whatever_bytes_arrive_nothing_is_raised_and_no_strange_answer_is_a_no(body: bytes) -> None:
    reply = HARBOUR.read_transfer(ASKED, 200, {}, body)
    if not isinstance(reply, Unknown):
        assert orjson.loads(body)["reference"] == ASKED.call_id
    assert not isinstance(reply, NothingHappened | Rejected)


@given(st.integers(100, 599), HEADERS, BODIES)
def test_whatever_status_comes_with_whatever_bytes_only_its_own_words_are_a_no(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    if status not in (200, 429):
        assert isinstance(HARBOUR.read_transfer(ASKED, status, headers, body), Unknown)
        assert isinstance(HARBOUR.read_find(ASKED, status, headers, body), Unknown)


@pytest.mark.parametrize(
    "reply", [*(meaning for _, meaning in STATES.values()), *(meaning for *_, meaning in REFUSED.values()), NotThere()]
)
def test_a_reply_is_stored_and_read_back(reply: TransferReply) -> None:
    assert transfer_reply_from_json(orjson.loads(orjson.dumps(reply.to_json()))) == reply


@pytest.mark.parametrize(
    "stored", [{}, {"reply": "captured"}, {"reply": "paid"}, {"reply": "returned", "code": "c"}, {"reply": "declined"}]
)
def test_what_is_no_reply_about_a_transfer_is_not_read_as_one(stored: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a"):
        transfer_reply_from_json(stored)


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_transfer_carries_our_id_as_key_and_reference_and_its_destination_as_it_was_opened() -> None:
    request = HARBOUR.transfer(TRANSFER)
    assert request.headers["Idempotency-Key"] == ASKED.call_id
    assert orjson.loads(request.body) == {
        "amount": 12_000,
        "currency": "EUR",
        "reference": ASKED.call_id,
        "payout": "payout-1",
        "destination": ACCOUNT,
    }
    assert HARBOUR.transfer(TRANSFER) == request, "the same transfer is the same bytes"


def test_secrets_and_destinations_are_not_shown() -> None:
    shown = f"{TRANSFER!r} {HARBOUR!r} {HARBOUR.transfer(TRANSFER)!r} {HARBOUR.find(ASKED)!r}"
    for hidden in ("secret-key", "s" * 16, ACCOUNT["iban"], "Ada"):
        assert hidden not in shown


def test_a_question_names_our_reference_alone() -> None:
    request = HARBOUR.find(ASKED)
    assert (request.method, request.body) == ("GET", b"")
    assert request.url.endswith(f"/v1/transfers?reference={ASKED.call_id}")


def test_every_provider_that_the_settings_name_stands_in_psp_under_that_name() -> None:
    named = get_args(PayoutProviderAccount.model_fields["adapter"].annotation)
    assert set(provider_adapters()) == set(named)
    account = PayoutProviderAccount(
        name="eu", adapter="harbour", url="http://provider.test/h/", api_key="k", bank_account="main"
    )
    assert make_providers([account])["eu"].list_transfers("A b").url == (
        "http://provider.test/h/v1/transfers?limit=1000&after=A+b"
    )


@pytest.mark.parametrize("page", [{}, {"data": [], "has_more": True}, {"data": [OK | {"id": ""}], "has_more": False}])
def test_a_listing_that_cannot_be_read_is_an_error_and_not_an_empty_one(page: object) -> None:
    with pytest.raises(ListingError, match="harbour"):
        HARBOUR.read_list(orjson.dumps(page))


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def webhook(data: object, kind: str = "transfer.accepted") -> bytes:
    return orjson.dumps({"id": "evt_1", "type": kind, "created": 1, "data": data})


@pytest.mark.parametrize("case", [name for name, (_, meaning) in STATES.items() if isinstance(meaning, TransferState)])
def test_a_webhook_becomes_the_event_that_says_the_same(case: str) -> None:
    body, meaning = STATES[case]
    told = HARBOUR.read_notification(webhook(body))
    assert told is not None
    assert payout_event_of("harbour", told) == notified(meaning, reference=ASKED.call_id, notification_id="evt_1")


def test_a_webhook_of_another_kind_has_no_event_and_one_that_cannot_be_read_is_none() -> None:
    other = HARBOUR.read_notification(webhook({}, "balance.low"))
    assert other is not None
    assert payout_event_of("harbour", other) is None
    assert HARBOUR.read_notification(webhook({})) is None
    assert HARBOUR.read_notification(webhook(BACK | {"returned_amount": 12_001})) is None
    assert HARBOUR.read_notification(b"{}") is None


def test_a_webhook_is_genuine_by_any_of_its_signatures_and_only_while_it_is_fresh() -> None:
    body, at = webhook(OK), 1_772_366_400
    good = mac("s" * 16, at, body).hex()
    for header, now, is_genuine in (
        (f"t={at},v1={good}", at, True),
        (f"t={at},v1=00,v1={good}", at + 299, True),
        (f"t={at},v1={good}", at + 301, False),
        (f"t={at + 1},v1={good}", at, False),
        (f"v1={good}", at, False),
        ("", at, False),
    ):
        signature = HARBOUR.signature({"harbour-signature": header})
        assert genuine(HARBOUR.webhook_secrets, signature, body, now) is is_genuine, header


@given(st.binary() | BODIES)
def test_whatever_comes_as_a_webhook_raises_nothing(body: bytes) -> None:
    told = HARBOUR.read_notification(body)
    assert told is None or told.told is None
    signature = HARBOUR.signature({"harbour-signature": body.decode("latin-1")})
    assert not genuine(HARBOUR.webhook_secrets, signature, body, 1_772_366_400)
