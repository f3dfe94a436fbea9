"""A PSP's webhook → the event that the door makes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import orjson
import pytest

from producers.doors.notifications import NotificationEvent, event_of
from psp.port import OperationKind
from schemas.events import NotificationReceived
from schemas.money import Money
from schemas.money_back import DisputeNotified
from tests.unit.psp_words import (
    AUTHORISE,
    BY_KIND,
    CHARGED,
    FIVE_EUR,
    WORDS,
    Body,
    Words,
    authorised_said,
    dispute_said,
    operation_said,
)
from tests.unit.psp_words import (
    event_of as webhook_of,
)

IN_2027 = datetime(2027, 1, 15, 8, tzinfo=UTC)


@pytest.fixture(params=WORDS)
def words(request: pytest.FixtureRequest) -> Words:
    return WORDS[request.param]


def told(words: Words, what: str, body: Body) -> NotificationEvent | None:
    notification = words.psp.read_notification(orjson.dumps(webhook_of(words, what, body)))
    assert notification is not None
    return event_of(words.psp.name, notification)


def received(words: Words, **facts: object) -> NotificationReceived:
    said = {"psp": words.psp.name, "notification_id": "evt_1", "source": "webhook", "scheme": "visa"}
    return NotificationReceived(**{**said, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", get_args(OperationKind))
def test_an_operation_is_told_of_under_its_own_reference_and_kind(words: Words, kind: OperationKind) -> None:
    done = received(
        words, reference=BY_KIND[kind].call_id, status="succeeded", amount=FIVE_EUR, psp_reference="op_1", about=kind
    )
    said = operation_said(words, BY_KIND[kind])
    assert told(words, kind, said) == done
    no = words.with_(said, status="declined", code="too_late")
    assert told(words, kind, no) == done.model_copy(update={"status": "declined", "code": "too_late"})
    if kind != "void":
        assert told(words, kind, words.with_(said, status="reversed")) == done.model_copy(update={"status": "reversed"})


def test_an_authorisation_is_told_of_with_its_end(words: Words) -> None:
    assert told(words, "charge", authorised_said(words)) == received(
        words,
        reference=AUTHORISE.call_id,
        status="authorised",
        amount=AUTHORISE.amount,
        psp_reference=CHARGED,
        expires_at=IN_2027,
    )


def test_a_charge_that_was_given_up_makes_no_event(words: Words) -> None:
    assert told(words, "charge", words.with_(authorised_said(words), status="voided")) is None


def test_a_dispute_is_told_of_under_the_charge_s_reference(words: Words) -> None:
    assert told(words, "dispute", dispute_said(words)) == DisputeNotified(
        reference=AUTHORISE.call_id,
        psp=words.psp.name,
        notification_id="evt_1",
        source="webhook",
        dispute_reference="dp_1",
        stage=1,
        status="opened",
        amount=FIVE_EUR,
        fee=Money(1500, "EUR"),
        reason="fraudulent",
        due_by=IN_2027,
    )


def test_what_has_a_reference_that_cannot_be_ours_is_told_of_under_the_psp_s(words: Words) -> None:
    refund = told(words, "refund", words.with_(operation_said(words, BY_KIND["refund"]), reference="a\0b"))
    assert refund is not None
    assert refund.key == "op_1"
    dispute = told(words, "dispute", words.with_(dispute_said(words), reference=""))
    assert dispute is not None
    assert dispute.key == CHARGED
