"""Whatever the documentation allows to be sent: never a 500, and always an answer that it describes."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks

from tests.contract.http.door import Door

load_all_checks()
NAMES = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
CHECKED: list[Any] = [CHECKS.get_one(name) for name in NAMES]


def test_every_operation_answers_as_it_is_documented(door: Door) -> None:
    described = schemathesis.openapi.from_dict(door.get("/openapi.json", key="").json)
    described.config.update(base_url=f"http://127.0.0.1:{door.port}")
    operations: list[Any] = [found.ok() for found in described.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) > 10
    for operation in operations:

        @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def answers(case: Any) -> None:
            reply = case.call(headers={"Authorization": f"Bearer {door.key}"})
            case.validate_response(reply, checks=CHECKED)

        answers()
