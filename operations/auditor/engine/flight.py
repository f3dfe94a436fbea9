"""Missing effects → those in flight: in an outbox, not consumed yet, or held by a letter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from operations.auditor.engine.findings import Finding, Hop
from operations.auditor.engine.records import Reader, unread_keys
from operations.auditor.engine.stores import Stores
from topics.runtime.outbox.outbox import hashed_key, load_record
from topics.runtime.shape.store import int_array


def on_their_way(stores: Stores, reading: Reader, findings: Sequence[Finding]) -> set[Finding]:
    """The missing effects that are known to be in flight. Effects that arrive meanwhile are found by the next look."""
    by_hop: dict[Hop, dict[str, list[Finding]]] = defaultdict(lambda: defaultdict(list))
    for finding in findings:
        if finding.hop is not None:
            by_hop[finding.hop][finding.key].append(finding)
    known: set[Finding] = set()
    for hop, missing in by_hop.items():
        names = reading.names(hop.topic)
        keys = _unpublished(stores, hop.speaker, names, missing)
        if hop.hearer is not None:
            keys |= _held(stores, hop.hearer, names, missing)
            rest = missing.keys() - keys
            keys |= set(unread_keys(reading, stores, hop.hearer, hop.topic, rest.__contains__)) if rest else set()
        known |= {finding for key in keys & missing.keys() for finding in missing[key]}
    return known


# The outbox has hashes of keys, so its records are compared by their keys.
_UNPUBLISHED = (
    "SELECT r.record FROM outbox CROSS JOIN LATERAL unnest(keys, records) AS r (key, record)"
    " WHERE (r.key IN (SELECT unnest(%s::bigint[]))) IS TRUE"
)


def _unpublished(stores: Stores, room: str, names: Sequence[str], keys: Iterable[str]) -> set[str]:
    asked = [hashed_key(name, key.encode()) for name in names for key in keys]
    said = [load_record(record) for (record,) in stores.rows(room, _UNPUBLISHED, [int_array(asked)])]
    return {record.key.decode() for record in said if record.key is not None and record.topic in names}


# Parked, dead, or discarded by an operator: a discarded effect never comes, and the operator knows.
_HELD = "SELECT DISTINCT key FROM parked WHERE topic = ANY(%s) AND key = ANY(%s) AND state <> 'done'"


def _held(stores: Stores, room: str, names: Sequence[str], keys: Iterable[str]) -> set[str]:
    rows = stores.rows(room, _HELD, [list(names), [key.encode() for key in keys]])
    return {key.decode() for (key,) in rows}
