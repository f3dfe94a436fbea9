"""Whatever the documentation allows to be sent: never a 500, and always an answer that it describes."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks

from tests.contract.http.door import Door

load_all_checks()
NAMES = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
CHECKED = [CHECKS.get_one(name) for name in NAMES]


def test_every_operation_answers_as_it_is_documented(door: Door) -> None:
    described = schemathesis.openapi.from_dict(door.get("/openapi.json", key="").json)
    described.config.update(base_url=f"http://127.0.0.1:{door.port}")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) > 10
    for operation in operations:

        @settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def answers(case: schemathesis.Case) -> None:
            reply = case.call(headers={"Authorization": f"Bearer {door.key}"})
            case.validate_response(reply, checks=CHECKED)

        answers()
