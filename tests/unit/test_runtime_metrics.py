"""What came of a batch → the counters of its room."""

from __future__ import annotations

from prometheus_client import REGISTRY

from topics.runtime.delivery.apply import Applied
from topics.runtime.outbox.outbox import OutboxRecord, Row
from topics.runtime.process import metrics


def test_events_are_counted_as_records_and_not_as_transactions() -> None:
    record = OutboxRecord("wallet-movements.v1", b"key", [], b"{}")
    applied = Applied(rows=[Row(1, [record] * 3), Row(2, [record])], messages=9, duplicates=4, parked=2, dead=1)
    metrics.count("counted", applied)
    names = ("messages", "duplicates", "parked", "dead_letters", "events")
    found = {name: REGISTRY.get_sample_value(f"tally_{name}_total", {"room": "counted"}) for name in names}
    assert found == {"messages": 9, "duplicates": 4, "parked": 2, "dead_letters": 1, "events": 4}
