"""What each PSP says of captures, voids, refunds and disputes: believed only where it speaks of what we asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psp.port import (
    Authorised,
    Capture,
    Captured,
    Charge,
    Declined,
    DisputeState,
    DisputeStatus,
    FindReply,
    ListedDispute,
    ListedOperation,
    ListingError,
    NothingHappened,
    Notification,
    NotThere,
    Operation,
    OperationKind,
    Pending,
    Reference,
    Refund,
    Refunded,
    Reply,
    Reversed,
    SendReply,
    Unknown,
    Void,
    Voided,
    reply_from_json,
)
from schemas.money import Money
from tests.unit.psp_words import (
    AUTHORISE,
    BEHIND,
    BY_KIND,
    CAPTURE,
    CHARGED,
    FIVE_EUR,
    REFUND,
    VOID,
    WORDS,
    Body,
    Words,
    authorised_said,
    dispute_said,
    event_of,
    operation_said,
    page_of,
)
from tests.unit.test_psp_replies import BODIES, CHARGE_TABLE, FIND_TABLE, HEADERS, JSON

IN_2027 = datetime(2027, 1, 15, 8, tzinfo=UTC)
KINDS: tuple[OperationKind, ...] = get_args(OperationKind)


@pytest.fixture(params=WORDS)
def words(request: pytest.FixtureRequest) -> Words:
    return WORDS[request.param]


def both(words: Words, operation: Operation, body: Body) -> tuple[SendReply, FindReply]:
    """What the body means as an answer to the send, and alone on a page as an answer to the question."""
    page = page_of(words, operation.kind, body)
    return (
        words.psp.read(operation, 200, {}, orjson.dumps(body)),
        words.psp.read_find(operation, 200, {}, orjson.dumps(page)),
    )


# ── a yes, a no, and what is neither ─────────────────────────────────────────────────────────────────────────────────

YES: dict[str, Reply] = {
    "capture": Captured("op_1", "visa", FIVE_EUR),
    "void": Voided("op_1", FIVE_EUR),
    "refund": Refunded("op_1", FIVE_EUR),
}


@pytest.mark.parametrize("operation", BEHIND)
def test_a_clear_yes_names_reference_and_amount(words: Words, operation: Operation) -> None:
    assert both(words, operation, operation_said(words, operation)) == (YES[operation.kind],) * 2


@pytest.mark.parametrize("operation", BEHIND)
def test_a_no_is_a_no_with_its_code_or_without(words: Words, operation: Operation) -> None:
    said = words.with_(operation_said(words, operation), status="declined")
    assert both(words, operation, words.with_(said, code="too_late")) == (Declined("too_late", "op_1", "visa"),) * 2
    assert both(words, operation, words.with_(said, code="\0")) == (Declined("unspecified", "op_1", "visa"),) * 2
    assert both(words, operation, said) == (Declined("unspecified", "op_1", "visa"),) * 2


@pytest.mark.parametrize("operation", BEHIND)
def test_what_is_not_decided_is_pending(words: Words, operation: Operation) -> None:
    said = words.with_(operation_said(words, operation), status="pending", reason="review")
    assert both(words, operation, said) == (Pending("op_1", "review"),) * 2


@pytest.mark.parametrize("operation", [CAPTURE, REFUND])
def test_what_was_done_and_taken_back_is_reversed(words: Words, operation: Operation) -> None:
    said = words.with_(operation_said(words, operation), status="reversed")
    assert both(words, operation, said) == (Reversed("op_1", FIVE_EUR),) * 2


def test_a_void_releases_what_the_psp_says(words: Words) -> None:
    said = words.with_(operation_said(words, VOID), amount=1)
    assert both(words, VOID, said) == (Voided("op_1", Money(1, "EUR")),) * 2


Spoil = Callable[[Words, Body], Body]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "another reference": (lambda words, said: words.with_(said, reference="x"), "reference_mismatch"),
    "another charge": (lambda words, said: words.with_(said, charge="ch_2"), "charge_mismatch"),
    "yes with a decline code": (lambda words, said: words.with_(said, code="x"), "contradictory"),
    "reversed with a decline code": (
        lambda words, said: words.with_(said, code="x", status="reversed"),
        "contradictory",
    ),
    "new status": (lambda words, said: words.with_(said, status="thinking"), "unreadable"),
    "a charge's status": (lambda words, said: words.with_(said, status="authorised"), "unreadable"),
    "amount as text": (lambda words, said: words.with_(said, amount="500"), "unreadable"),
    "amount as float": (lambda words, said: words.with_(said, amount=500.0), "unreadable"),
    "amount past 64 bits": (lambda words, said: words.with_(said, amount=2**63), "unreadable"),
    "amount below zero": (lambda words, said: words.with_(said, amount=-500), "unreadable"),
    "no such currency": (lambda words, said: words.with_(said, currency="ZZZ"), "unreadable"),
    "id with NUL": (lambda words, said: words.with_(said, id="a\0b"), "unreadable"),
    "empty id": (lambda words, said: words.with_(said, id=""), "unreadable"),
    "charge's id with a space": (lambda words, said: words.with_(said, charge="c h"), "unreadable"),
    "kind unknown": (lambda words, said: words.with_(said, kind="gift"), "unreadable"),
    "no such time": (lambda words, said: words.with_(said, created=2**60), "unreadable"),
    "time as text": (lambda words, said: words.with_(said, created="yesterday"), "unreadable"),
    **{
        f"{field} missing": (lambda words, said, field=field: words.without(said, field), "unreadable")  # type: ignore[misc]
        for field in ("id", "status", "kind", "charge", "amount", "currency", "reference", "order", "created")
    },
}


@pytest.mark.parametrize("operation", BEHIND)
@pytest.mark.parametrize("how", SPOILT)
def test_what_does_not_agree_is_unknown(words: Words, operation: Operation, how: str) -> None:
    spoil, reason = SPOILT[how]
    if operation is VOID and "reversed" in how:
        reason = "unreadable"
    assert both(words, operation, spoil(words, operation_said(words, operation))) == (Unknown(reason),) * 2


@pytest.mark.parametrize("operation", [CAPTURE, REFUND])
@pytest.mark.parametrize("status", ["succeeded", "declined", "pending", "reversed"])
@pytest.mark.parametrize("changes", [{"amount": 499}, {"currency": "USD"}])
def test_another_amount_is_unknown_whatever_became_of_it(
    words: Words, operation: Operation, status: str, changes: dict[str, object]
) -> None:
    said = words.with_(operation_said(words, operation), status=status, **changes)
    assert both(words, operation, said) == (Unknown("amount_mismatch"),) * 2


@pytest.mark.parametrize("operation", BEHIND)
def test_an_operation_of_another_kind_is_unknown(words: Words, operation: Operation) -> None:
    for kind in set(KINDS) - {operation.kind}:
        said = words.with_(operation_said(words, operation), kind=kind)
        assert both(words, operation, said) == (Unknown("kind_mismatch"),) * 2


def test_a_void_that_was_taken_back_is_unknown(words: Words) -> None:
    said = words.with_(operation_said(words, VOID), status="reversed")
    assert both(words, VOID, said) == (Unknown("unreadable"),) * 2


@pytest.mark.parametrize("operation", BEHIND)
def test_an_answer_that_says_a_thing_twice_is_unknown(words: Words, operation: Operation) -> None:
    for body in (operation_said(words, operation), page_of(words, operation.kind, operation_said(words, operation))):
        twice = orjson.dumps(body).replace(b'"amount":', b'"amount":1,"amount":', 1)
        assert words.psp.read(operation, 200, {}, twice) == Unknown("unreadable")
        assert words.psp.read_find(operation, 200, {}, twice) == Unknown("unreadable")


@pytest.mark.parametrize("operation", BEHIND)
def test_a_charge_is_no_answer_to_what_is_done_behind_it(words: Words, operation: Operation) -> None:
    said = words.with_(authorised_said(words), reference=operation.call_id)
    assert both(words, operation, said) == (Unknown("unreadable"),) * 2


@pytest.mark.parametrize("operation", BEHIND)
@pytest.mark.parametrize("case", [name for name, (_, status, _, _) in CHARGE_TABLE.items() if status != 200])
def test_a_refusal_means_the_same_for_each_kind(operation: Operation, case: str) -> None:
    psp, status, body, meaning = CHARGE_TABLE[case]
    assert psp.read(operation, status, {"Retry-After": "7"}, orjson.dumps(body)) == meaning


@pytest.mark.parametrize("asked", [*BEHIND, Reference("refund", "x"), Reference("dispute", "dp_1")])
@pytest.mark.parametrize("case", [name for name, (_, status, _, _) in FIND_TABLE.items() if status != 200])
def test_a_failed_question_is_unknown_for_each_kind(asked: Operation | Reference, case: str) -> None:
    psp, status, body, meaning = FIND_TABLE[case]
    assert psp.read_find(asked, status, {"Retry-After": "7"}, orjson.dumps(body)) == meaning


@pytest.mark.parametrize("operation", BEHIND)
def test_a_question_is_answered_by_none_or_one(words: Words, operation: Operation) -> None:
    said = operation_said(words, operation)
    several = Unknown("several_operations")
    pages = {
        NotThere(): page_of(words, operation.kind),
        Unknown("unreadable"): page_of(words, "dispute" if words is WORDS["southpay"] else operation.kind, {}),
    }
    for meaning, page in pages.items():
        assert words.psp.read_find(operation, 200, {}, orjson.dumps(page)) == meaning
    for page in (
        page_of(words, operation.kind, said, said),
        page_of(words, operation.kind, said, more=True),
        page_of(words, operation.kind, more=True),
    ):
        assert words.psp.read_find(operation, 200, {}, orjson.dumps(page)) == several


@pytest.mark.parametrize("operation", BEHIND)
def test_of_a_bare_reference_the_psp_may_say_any_amount_and_charge(words: Words, operation: Operation) -> None:
    """The reader compares them: an answer to another reference or kind stays unknown."""
    assert not isinstance(operation, Charge)
    asked = Reference(operation.kind, operation.call_id)
    assert words.psp.find(asked) == words.psp.find(operation)
    said = words.with_(operation_said(words, operation), amount=7, charge="ch_9")
    reply = words.psp.read_find(asked, 200, {}, orjson.dumps(page_of(words, operation.kind, said)))
    assert isinstance(reply, Captured | Voided | Refunded)
    assert reply.amount == Money(7, "EUR")
    other = orjson.dumps(page_of(words, operation.kind, words.with_(said, reference="x")))
    assert words.psp.read_find(asked, 200, {}, other) == Unknown("reference_mismatch")


# ── charges that are captured later ──────────────────────────────────────────────────────────────────────────────────


def test_a_charge_to_be_captured_later_is_authorised_until_its_time(words: Words) -> None:
    yes = Authorised(CHARGED, "visa", AUTHORISE.amount, IN_2027)
    assert both(words, AUTHORISE, authorised_said(words)) == (yes, yes)


def test_money_that_was_taken_is_no_answer_to_an_authorisation_nor_the_other_way_round(words: Words) -> None:
    mismatch = (Unknown("capture_mismatch"),) * 2
    taken = {"northpay": "succeeded", "southpay": "Captured"}[words.psp.name]
    assert both(words, AUTHORISE, words.with_(authorised_said(words), status=taken)) == mismatch
    assert both(words, AUTHORISE, words.with_(authorised_said(words), status="reversed")) == mismatch
    automatic = replace(AUTHORISE, capture=True)
    assert both(words, automatic, authorised_said(words)) == mismatch
    assert both(words, automatic, words.with_(authorised_said(words), status=taken)) == mismatch


def test_an_authorisation_without_its_end_is_unknown(words: Words) -> None:
    for said in (
        words.without(authorised_said(words), "expires"),
        words.with_(authorised_said(words), expires=None),
        words.with_(authorised_said(words), expires="soon"),
        words.with_(authorised_said(words), expires=2**60),
    ):
        replies = both(words, AUTHORISE, said)
        assert all(isinstance(reply, Unknown) for reply in replies), replies


def test_an_authorisation_that_has_ended_before_we_heard_of_it_is_a_no(words: Words) -> None:
    """Nothing was captured, for a capture needs the reference that we had not."""
    send, find = both(words, AUTHORISE, words.with_(authorised_said(words), status="voided"))
    assert isinstance(send, Declined)
    assert send == find


def test_an_automatic_charge_that_the_psp_took_back_is_reversed(words: Words) -> None:
    automatic = replace(AUTHORISE, capture=True)
    said = words.without(words.with_(authorised_said(words), status="reversed"), "expires")
    said.pop("captureDelay", None)
    assert both(words, automatic, said) == (Reversed(CHARGED, AUTHORISE.amount),) * 2


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("operation", [*BEHIND, AUTHORISE])
def test_requests_carry_our_id_as_key_and_reference_and_hide_secrets(words: Words, operation: Operation) -> None:
    request = words.psp.request(operation)
    assert {name.lower(): text for name, text in request.headers.items()}["idempotency-key"] == operation.call_id
    assert orjson.loads(request.body)["reference"] == operation.call_id
    assert words.psp.request(operation) == request, "the same operation is the same bytes"
    assert "secret-key" not in f"{request!r} {words.psp.find(operation)!r}"


def test_an_automatic_charge_is_the_bytes_that_it_always_was() -> None:
    charge = Charge("0f" * 16, "order-1", Money(1234, "EUR"), "tok_visa")
    assert WORDS["northpay"].psp.request(charge).body == (
        b'{"amount":1234,"currency":"eur","source":"tok_visa","reference":"' + b"0f" * 16 + b'",'
        b'"metadata":{"order":"order-1"}}'
    )
    assert WORDS["southpay"].psp.request(charge).body == (
        b'{"amount":{"value":1234,"currency":"EUR"},"paymentMethod":{"type":"scheme","token":"tok_visa"},'
        b'"reference":"' + b"0f" * 16 + b'","merchantOrderReference":"order-1"}'
    )


def test_one_psp_takes_one_capture_to_a_charge_and_the_other_many() -> None:
    many = {name: words.psp.declared["capture"].many for name, words in WORDS.items()}
    assert many == {"northpay": True, "southpay": False}


# ── disputes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

DISPUTE = Reference("dispute", "dp_1")
OPENED = DisputeState("dp_1", 1, "opened", FIVE_EUR, Money(1500, "EUR"), "fraudulent", IN_2027)
STATUSES = {
    "northpay": {"inquiry": "inquiry", "opened": "opened", "won": "won", "lost": "lost"},
    "southpay": {"inquiry": "Inquiry", "opened": "Open", "won": "Won", "lost": "Lost"},
}
SECOND: dict[str, object] = {"northpay": 2, "southpay": "SecondChargeback"}


def put(words: Words, body: Body, **changes: object) -> Body:
    """As `Words.with_`, with a dispute's own status field and fees as the PSP writes them."""
    status = changes.pop("status", None)
    told = words.with_(body, **changes)
    return told if status is None else told | {"status": STATUSES[words.psp.name].get(str(status), status)}


def asked(words: Words, *bodies: Body, more: bool = False, stage: int | None = None) -> FindReply:
    body = orjson.dumps(page_of(words, "dispute", *bodies, more=more))
    return words.psp.read_find(replace(DISPUTE, stage=stage), 200, {}, body)


@pytest.mark.parametrize("status", ["inquiry", "opened", "lost"])
def test_a_dispute_says_where_it_stands_and_what_it_costs(words: Words, status: DisputeStatus) -> None:
    assert asked(words, put(words, dispute_said(words), status=status)) == replace(OPENED, status=status)


def test_a_dispute_that_is_won_says_what_of_its_fee_comes_back(words: Words) -> None:
    won = put(words, dispute_said(words), status="won")
    assert asked(words, won) == replace(OPENED, status="won", fee=None)
    north = words.psp.name == "northpay"
    given_back = put(words, won, returned=700 if north else {"value": 700, "currency": "EUR"})
    assert asked(words, given_back) == replace(OPENED, status="won", fee=Money(700, "EUR"))


def test_a_dispute_without_fee_and_date_is_one(words: Words) -> None:
    plain = put(words, dispute_said(words), fee=None, due=None, why="\0")
    assert asked(words, plain) == replace(OPENED, fee=None, due_by=None, reason="unspecified")


def test_the_last_stage_counts_unless_another_is_asked_for(words: Words) -> None:
    first = put(words, dispute_said(words), status="won")
    second = put(words, dispute_said(words), stage=SECOND[words.psp.name])
    for pages in ((first, second), (second, first)):
        assert asked(words, *pages) == replace(OPENED, stage=2)
        assert asked(words, *pages, stage=1) == replace(OPENED, status="won", fee=None)
    assert asked(words, first, stage=2) == NotThere()
    assert asked(words) == NotThere()


def test_a_stage_that_is_told_twice_is_unknown(words: Words) -> None:
    assert asked(words, dispute_said(words), dispute_said(words)) == Unknown("several_disputes")
    assert asked(words, dispute_said(words), more=True) == Unknown("unreadable")


SPOILT_DISPUTES: dict[str, dict[str, object]] = {
    "new status": {"status": "thinking"},
    "stage nought": {"stage": 0},
    "stage as word": {"stage": "third"},
    "nothing disputed": {"amount": 0},
    "below zero": {"amount": -500},
    "amount as text": {"amount": "500"},
    "no such currency": {"currency": "ZZZ"},
    "fee as text": {"fee": "15.00"},
    "date as word": {"due": "soon"},
    "date past all time": {"due": 2**60},
    "charge's id with a space": {"charge": "c h"},
    "no such time": {"created": "yesterday"},
}


@pytest.mark.parametrize("how", SPOILT_DISPUTES)
def test_a_dispute_that_cannot_be_is_unknown(words: Words, how: str) -> None:
    assert asked(words, put(words, dispute_said(words), **SPOILT_DISPUTES[how])) == Unknown("unreadable")


@pytest.mark.parametrize("fee", [{"value": -1, "currency": "EUR"}, {"value": 1, "currency": "USD"}])
def test_a_fee_below_zero_or_in_another_currency_is_unknown(fee: dict[str, object]) -> None:
    words = WORDS["southpay"]
    assert asked(words, put(words, dispute_said(words), fee=fee)) == Unknown("unreadable")
    north = WORDS["northpay"]
    assert asked(north, put(north, dispute_said(north), fee=-1)) == Unknown("unreadable")


def test_another_dispute_is_unknown(words: Words) -> None:
    body = orjson.dumps(page_of(words, "dispute", dispute_said(words)))
    assert words.psp.read_find(Reference("dispute", "dp_2"), 200, {}, body) == Unknown("reference_mismatch")


# ── listings and webhooks ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_a_listing_holds_operations_of_its_kind_alone(words: Words, kind: OperationKind) -> None:
    said = operation_said(words, BY_KIND[kind])
    listed = words.psp.read_list(kind, orjson.dumps(page_of(words, kind, said, said)))
    assert [(entry.kind, entry.charge_reference, entry.amount) for entry in listed.entries] == [
        (kind, CHARGED, FIVE_EUR)
    ] * 2
    assert listed.cursor is None
    assert words.psp.read_list(kind, orjson.dumps(page_of(words, kind, said, more=True))).cursor
    other = words.with_(said, kind=next(name for name in KINDS if name != kind))
    for spoilt in (other, words.with_(said, amount=-1), words.without(said, "id")):
        with pytest.raises(ListingError, match=words.psp.name):
            words.psp.read_list(kind, orjson.dumps(page_of(words, kind, said, spoilt)))


def test_a_listing_of_disputes_holds_each_stage(words: Words) -> None:
    said = dispute_said(words)
    [entry] = words.psp.read_list("dispute", orjson.dumps(page_of(words, "dispute", said))).entries
    assert (entry.reference, entry.dispute_reference, entry.stage) == (AUTHORISE.call_id, "dp_1", 1)
    with pytest.raises(ListingError, match=words.psp.name):
        words.psp.read_list("dispute", orjson.dumps(page_of(words, "dispute", said, put(words, said, amount=0))))


def note(words: Words, what: str, body: Body) -> Notification | None:
    return words.psp.read_notification(orjson.dumps(event_of(words, what, body)))


@pytest.mark.parametrize("operation", BEHIND)
def test_a_webhook_about_an_operation_says_which_and_why(words: Words, operation: Operation) -> None:
    told = note(words, operation.kind, words.with_(operation_said(words, operation), status="declined", code="late"))
    assert told is not None
    assert isinstance(told.told, ListedOperation)
    assert (told.id, told.code, told.told.kind) == ("evt_1", "late", operation.kind)
    assert (told.told.reference, told.told.status) == (operation.call_id, "declined")


def test_a_webhook_about_a_dispute_says_where_it_stands(words: Words) -> None:
    told = note(words, "dispute", dispute_said(words))
    assert told is not None
    assert isinstance(told.told, ListedDispute)
    assert (told.told.status, told.told.amount, told.told.due_by) == ("opened", FIVE_EUR, IN_2027)


def test_a_webhook_that_cannot_be_read_is_none_and_one_of_another_kind_is_not_read(words: Words) -> None:
    refund = operation_said(words, REFUND)
    assert note(words, "refund", words.with_(refund, amount=-1)) is None
    assert note(words, "capture", refund) is None, "its type says capture, and its contents refund"
    assert note(words, "dispute", put(words, dispute_said(words), amount=0)) is None
    assert note(words, "payout", refund) == Notification("evt_1", None)


# ── whatever bytes arrive ────────────────────────────────────────────────────────────────────────────────────────────

OPERATIONS = st.sampled_from([*BEHIND, AUTHORISE])
ASKED = OPERATIONS | st.sampled_from([DISPUTE, Reference("charge", "x"), Reference("refund", REFUND.call_id)])
SPOKEN = st.sampled_from(list(WORDS.values()))


@st.composite
def bent(draw: st.DrawFn, words: Words) -> bytes:
    """A good answer, alone or listed, with one field replaced by anything."""
    what = draw(st.sampled_from([*BEHIND, AUTHORISE, DISPUTE]))
    if isinstance(what, Capture | Void | Refund):
        good = operation_said(words, what)
    else:
        good = authorised_said(words) if isinstance(what, Charge) else dispute_said(words)
    told = good | {draw(st.sampled_from(sorted(good))): draw(JSON)}
    listed = draw(st.booleans())
    try:
        return orjson.dumps(page_of(words, what.kind, told) if listed else told)
    except (orjson.JSONEncodeError, TypeError):
        return b"{"


@given(data=st.data(), words=SPOKEN, operation=OPERATIONS, asked=ASKED, status=st.integers(100, 599), headers=HEADERS)
def test_reading_never_raises_and_what_it_reads_can_be_stored(
    data: st.DataObject,
    words: Words,
    operation: Operation,
    asked: Operation | Reference,
    status: int,
    headers: dict[str, str],
) -> None:
    body = data.draw(BODIES | bent(words))
    for code in (status, 200):
        for reply in (
            words.psp.read(operation, code, headers, body),
            words.psp.read_find(asked, code, headers, body),
        ):
            stored = orjson.loads(orjson.dumps(reply.to_json()))
            assert "\0" not in str(stored)
            assert reply_from_json(stored) == reply
    words.psp.read_notification(body)


@given(data=st.data(), words=SPOKEN, operation=st.sampled_from(BEHIND))
def test_a_bent_answer_never_does_another_operation(data: st.DataObject, words: Words, operation: Operation) -> None:
    body = data.draw(bent(words))
    reply = words.psp.read(operation, 200, {}, body)
    assert not isinstance(reply, NothingHappened)
    if isinstance(reply, Captured | Refunded | Voided | Reversed):
        assert operation.call_id.encode() in body
        assert CHARGED.encode() in body
        assert isinstance(operation, Void) or reply.amount == FIVE_EUR


GOOD: tuple[Reply, ...] = (
    Authorised("p", "visa", FIVE_EUR, IN_2027),
    Voided("p", Money(0, "JPY")),
    Refunded("p", FIVE_EUR),
    Reversed("p", FIVE_EUR),
    OPENED,
    replace(OPENED, fee=None, due_by=None),
)


@pytest.mark.parametrize("reply", GOOD)
def test_a_reply_is_stored_and_read_back_as_it_was(reply: Reply) -> None:
    assert reply_from_json(orjson.loads(orjson.dumps(reply.to_json()))) == reply


@pytest.mark.parametrize("reply", GOOD)
def test_a_stored_reply_with_a_field_spoilt_is_refused(reply: Reply) -> None:
    stored = orjson.loads(orjson.dumps(reply.to_json()))
    for field in stored:
        for value in (
            ["x"],
            1.5,
            "\x7f" if field not in ("psp_reference", "scheme", "dispute_reference", "reason") else 1,
        ):
            with pytest.raises(ValueError, match=r".+"):
                reply_from_json({**stored, field: value})
        with pytest.raises(ValueError, match=r".+"):
            reply_from_json({name: kept for name, kept in stored.items() if name != field})
