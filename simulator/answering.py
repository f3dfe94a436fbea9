"""What was made of a request, and the fault of its answer → the answer."""

from __future__ import annotations

from simulator.http import Answer
from simulator.shape import Front
from simulator.tokens import Fault
from simulator.wire import Problem, json_answer


def made_answer(front: Front, body: dict[str, object] | None, *, replayed: bool, fault: Fault | None) -> Answer:
    """`body` is None if nothing was done."""
    match fault:
        case Fault.TOO_MANY:
            return problem_answer(front, Problem.TOO_MANY, "slow down", retry_after_s=1)
        case Fault.UNAVAILABLE:
            return problem_answer(front, Problem.UNAVAILABLE, "try again; nothing was done", retry_after_s=1)
        case Fault.ERROR_CHARGED | Fault.ERROR_UNCHARGED:
            return problem_answer(front, Problem.INTERNAL, "something went wrong")
    if body is None:
        return problem_answer(front, Problem.INTERNAL, "never sent")
    return json_answer(200, body, {"Idempotent-Replayed": "true"} if replayed else None)


def problem_answer(front: Front, problem: Problem, message: str, retry_after_s: int | None = None) -> Answer:
    status, body = front.problem(problem, message)
    return json_answer(status, body, None if retry_after_s is None else {"Retry-After": str(retry_after_s)})
