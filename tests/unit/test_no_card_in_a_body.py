"""Each text of each body that the API takes refuses a card number. Ids are no texts: docs/pci.md says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from producers import replies
from producers.description import BODIES
from producers.examples import OF
from schemas.requests import field_errors
from topics.runtime.dead_letters.acts import ActRefused, AuditNote

CARD = "4111111111111111"
SAID = f"the buyer wrote {CARD[:4]} {CARD[4:8]}-{CARD[8:12]} {CARD[12:]}"
IDS = {
    *("checkout_id", "payment_order_id", "capture_id", "void_id", "refund_id", "payout_id"),
    *("buyer_account", "seller_account", "room", "letters", "operation_id"),
}
REST = {  # of which the API's description has no example
    "ReviewRequest": {"screen_no": 1, "decision": "clear", "reason": "seen"},
    "DecisionRequest": {"reason": "seen"},
    "ResolutionRequest": {
        "call_id": "0" * 32,
        "outcome": "failed",
        "evidence": "a mail of the PSP",
        "reason": "seen",
    },
    "CloseRequest": {"date": "2026-05-04", "reason": "all has come"},
    "EntryRequest": {"account": "suspense", "direction": "debit", "amount": {"amount": "1.00", "currency": "EUR"}},
    "BreakWorkRequest": {"operation_id": "op-1", "reason": "the bank's mail", "assignee": "ann", "account": "suspense"},
}
TAKEN = {model.__name__: model for model in BODIES if model is not replies.ProblemDocument}
EXAMPLES = OF | REST


def texts(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict):
        for name, held in value.items():
            yield from texts(held, (*at, name))
    elif isinstance(value, list):
        for place, held in enumerate(value):
            yield from texts(held, (*at, place))
    elif isinstance(value, str):
        yield at


def with_text(body: Any, at: tuple[str | int, ...], text: str) -> bytes:
    changed = deepcopy(body)
    inner = changed
    for part in at[:-1]:
        inner = inner[part]
    inner[at[-1]] = text
    return json.dumps(changed).encode()


@pytest.mark.parametrize("name", TAKEN)
def test_each_text_of_a_body_refuses_a_card_number_and_does_not_repeat_it(name: str) -> None:
    model: type[BaseModel] = TAKEN[name]
    model.model_validate_json(json.dumps(EXAMPLES[name]))
    for at in texts(EXAMPLES[name]):
        named = next(part for part in reversed(at) if isinstance(part, str))
        if named in IDS or at[0] == "value":  # a corrected message is read as any other
            continue
        for text in (CARD, SAID):
            with pytest.raises(ValidationError) as refused:
                model.model_validate_json(with_text(EXAMPLES[name], at, text))
            assert CARD[:8] not in str(field_errors(refused.value)), f"{name} {at}"


@pytest.mark.parametrize(("actor", "reason"), [("ann", SAID), (CARD, "seen")])
def test_what_an_operator_says_in_a_shell_is_looked_at_too(actor: str, reason: str) -> None:
    with pytest.raises(ActRefused, match="card number"):
        AuditNote(actor, reason)
