"""A command of a person or test → an act of a PSP: reverse, do again, dispute, fail the next operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from simulator.clock import Clock
from simulator.disputes import STAGES, STATUSES, Dispute, DisputeChange, Disputes
from simulator.faults import FaultsError, read_failure, read_op
from simulator.memory import Charge, Memory
from simulator.operations import Operation, OperationBooks
from simulator.plans import Plans
from simulator.shape import Shape, id_of
from simulator.webhooks import WebhookSender
from simulator.wire import Problem, Refused, iso_time, read_amount, read_text

E = TypeVar("E", Charge, Operation)
_DISPUTE_FIELDS = frozenset(
    {"subject", "psp", "status", "stage", "amount", "fee", "fee_returned", "reason", "due_by", "id"}
)


class ControlCommands:
    """Stores each act, sends its webhook and answers JSON. Errors: Refused(INVALID) with a text for people."""

    def __init__(
        self,
        memory: Memory,
        operations: OperationBooks,
        disputes: Disputes,
        webhooks: WebhookSender,
        plans: Plans,
        clock: Clock,
        shapes: Mapping[str, Shape],
    ) -> None:
        self._memory = memory
        self._operations = operations
        self._disputes = disputes
        self._webhooks = webhooks
        self._plans = plans
        self._clock = clock
        self._shapes = shapes

    async def plan(self, body: object) -> dict[str, object]:
        """Let the next `op` of `subject`, an order or a reference, fail with `fault`, once."""
        asked = _fields(body, frozenset({"op", "subject", "fault"}))
        try:
            op = read_op(asked.get("op"))
            subject, failure = read_text(asked.get("subject"), "subject"), read_failure(op, asked.get("fault"))
        except FaultsError as error:
            raise Refused(Problem.INVALID, str(error)) from None
        await self._plans.add(op, subject, failure)
        return {"planned": self._plans.to_json()}

    async def reverse(self, body: object) -> dict[str, object]:
        """Reverse a capture or refund of `subject`, an order or a reference; with `again`, do it again."""
        asked = _fields(body, frozenset({"subject", "op", "again", "psp"}))
        subject, op, again = _subject(asked), asked.get("op", "capture"), asked.get("again", False)
        if op not in ("capture", "refund"):
            raise Refused(Problem.INVALID, "op: must be capture or refund")
        if not isinstance(again, bool):
            raise Refused(Problem.INVALID, "again: must be true or false")
        charges = self._charges(subject, asked)
        taken_at_once = [charge for charge in charges if not charge.manual and not charge.decline_code]
        if op == "capture" and taken_at_once:
            return await self._reverse_charge(_only(taken_at_once, subject, "charges"), again)
        return await self._reverse_operation(self._candidate(subject, op, again, charges), again)

    async def _reverse_charge(self, charge: Charge, again: bool) -> dict[str, object]:
        now_us = self._clock.now_us()
        changed = await self._operations.set_charge_reversed(charge, not again, now_us)
        self._webhooks.tell(changed)
        return self.told_charge(changed)

    async def _reverse_operation(self, operation: Operation, again: bool) -> dict[str, object]:
        act = self._operations.do_again if again else self._operations.take_back
        changed = await act(operation, self._clock.now_us())
        self._webhooks.tell(changed)
        return self.told_operation(changed)

    def _candidate(self, subject: str, op: str, again: bool, charges: Sequence[Charge]) -> Operation:
        """The capture or refund that `subject` names. If an order has several, the subject must be a reference."""
        now_us, psps = self._clock.now_us(), {charge.psp for charge in charges}
        found = [one for one in self._operations.known_as(subject) if one.kind == op and (not psps or one.psp in psps)]
        by_status = {
            status: [one for one in found if one.status(now_us) == status] for status in ("reversed", "declined")
        }
        done = [one for one in found if one.status(now_us) == "succeeded"]
        fitting = by_status["reversed"] or by_status["declined"] if again else done
        if not found:
            raise Refused(Problem.INVALID, f"no {op} of {subject} here" if charges else f"no order {subject} here")
        return _only(fitting or found, subject, f"{op}s")

    async def dispute(self, body: object) -> dict[str, object]:
        """Open a dispute about a captured order or charge, or move it to its next status."""
        asked = _fields(body, _DISPUTE_FIELDS)
        subject = _subject(asked)
        change = _dispute_change(asked)
        charges = self._charges(subject, asked)
        if not charges:
            raise Refused(Problem.INVALID, f"no order {subject} here")
        now_us = self._clock.now_us()
        captured = [charge for charge in charges if self._operations.captured(charge, now_us)]
        charge = _only(captured or charges[:1], subject, "charges")
        told = await self._disputes.dispute(charge, change, now_us)
        self._webhooks.tell(told)
        return self.told_dispute(told)

    def _charges(self, subject: str, asked: Mapping[str, object]) -> list[Charge]:
        """The charges of an order or with a reference; with `psp` only that PSP's."""
        psp = asked.get("psp")
        if psp is not None and psp not in self._shapes:
            raise Refused(Problem.INVALID, f"psp: must be one of {', '.join(self._shapes)}")
        return [charge for charge in self._memory.known_as(subject) if psp in (None, charge.psp)]

    def books(self, subject: str) -> dict[str, object]:
        """All operations and disputes of an order or with a reference, hidden ones included: for people only."""
        charges = self._memory.known_as(subject)
        disputes = [dispute for charge in charges for dispute in self._disputes.about(charge)]
        return {
            "operations": [self.told_operation(one) for one in self._operations.known_as(subject)],
            "disputes": [self.told_dispute(one) for one in disputes],
        }

    def told_charge(self, charge: Charge) -> dict[str, object]:
        """As `GET /control/charges` has it."""
        [status] = self._operations.statuses([charge], self._clock.now_us())
        return {
            "psp": charge.psp,
            "id": charge.id,
            "reference": charge.reference,
            "order": charge.order_id,
            "amount": charge.amount,
            "currency": charge.currency,
            "status": status,
            "decline_code": charge.decline_code,
            "scheme": charge.scheme,
            "token": charge.token,
            "created_at": iso_time(charge.created_at),
        }

    def told_operation(self, operation: Operation) -> dict[str, object]:
        return {
            "psp": operation.psp,
            "op": operation.kind,
            "id": self._shapes[operation.psp].shown_id(operation.kind, operation.id),
            "charge": self._shapes[operation.psp].shown_id("charge", operation.charge_id),
            "reference": operation.reference,
            "order": operation.order_id,
            "amount": operation.amount,
            "currency": operation.currency,
            "status": operation.status(self._clock.now_us()),
            "decline_code": operation.decline_code,
            "created_at": iso_time(operation.created_at),
        }

    def told_dispute(self, dispute: Dispute) -> dict[str, object]:
        return {
            "psp": dispute.psp,
            "id": self._shapes[dispute.psp].shown_id("dispute", dispute.id),
            "charge": self._shapes[dispute.psp].shown_id("charge", dispute.charge_id),
            "reference": dispute.reference,
            "order": dispute.order_id,
            "stage": dispute.stage,
            "status": dispute.status,
            "amount": dispute.amount,
            "currency": dispute.currency,
            "fee": dispute.fee,
            "fee_returned": dispute.fee_returned,
            "reason": dispute.reason,
            "due_by": None if dispute.due_by is None else iso_time(dispute.due_by),
            "created_at": iso_time(dispute.created_at),
        }


def _only(found: Sequence[E], subject: str, what: str) -> E:
    if len(found) > 1:
        references = ", ".join(one.reference for one in found)
        raise Refused(Problem.INVALID, f"{subject} has {len(found)} {what}: name one by its reference ({references})")
    return found[0]


def _fields(body: object, fields: frozenset[str]) -> Mapping[str, object]:
    if not isinstance(body, dict) or not body.keys() <= fields:
        raise Refused(Problem.INVALID, f"the body must be an object of {', '.join(sorted(fields))}")
    return body


def _subject(asked: Mapping[str, object]) -> str:
    return read_text(asked.get("subject"), "subject")


def _dispute_change(asked: Mapping[str, object]) -> DisputeChange:
    status, stage, id_ = asked.get("status", "opened"), asked.get("stage", 1), asked.get("id")
    known = next((one for one in STATUSES if one == status), None)
    if known is None:
        raise Refused(Problem.INVALID, f"status: must be one of {', '.join(STATUSES)}")
    if isinstance(stage, bool) or stage not in STAGES:
        raise Refused(Problem.INVALID, f"stage: must be one of {', '.join(map(str, STAGES))}")
    assert isinstance(stage, int)
    amount, reason, due_by = asked.get("amount"), asked.get("reason"), asked.get("due_by")
    return DisputeChange(
        status=known,
        stage=stage,
        amount=None if amount is None else read_amount(amount, "amount"),
        fee=_fee(asked, "fee"),
        fee_returned=_fee(asked, "fee_returned"),
        reason=None if reason is None else read_text(reason, "reason"),
        due_by=None if due_by is None else _seconds(due_by) * 1_000_000,
        id=None if id_ is None else id_of(read_text(id_, "id")),
    )


def _fee(asked: Mapping[str, object], name: str) -> int | None:
    fee = asked.get(name)
    return fee if fee is None or (fee == 0 and isinstance(fee, int)) else read_amount(fee, name)


def _seconds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**33:
        raise Refused(Problem.INVALID, "due_by: must be seconds since 1970")
    return value
