"""W3C traces: continued where one came, begun where none did, and the same again whenever it is decided again."""

from __future__ import annotations

import pytest

from schemas.envelope import child_trace, derive_id

CAUSE = derive_id("a request", "shop", 0, 1_767_268_800_000)
EVENT = derive_id(CAUSE, "payments", 0, 1_767_268_800_000)
SPAN = EVENT.replace("-", "")[16:]
TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_trace_that_came_goes_on_with_the_event_as_its_parent() -> None:
    assert child_trace(f"00-{TRACE}-b7ad6b7169203331-00", EVENT, CAUSE) == f"00-{TRACE}-{SPAN}-00"


@pytest.mark.parametrize(
    "came",
    [
        None,
        "",
        "nonsense",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-b7ad6b7169203331-01\n",
    ],
)
def test_where_none_came_one_begins_that_the_cause_names(came: str | None) -> None:
    assert child_trace(came, EVENT, CAUSE) == f"00-{CAUSE.replace('-', '')}-{SPAN}-01"
    other = derive_id(CAUSE, "payments", 1, 1_767_268_800_000)
    assert child_trace(came, other, CAUSE)[:36] == child_trace(came, EVENT, CAUSE)[:36]
