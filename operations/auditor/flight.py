"""Effects that are not there → those on their way: in an outbox, not read yet, or held by a letter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from operations.auditor.books import Stores
from operations.auditor.compare import Finding, Hop
from operations.auditor.records import Reader, unread_keys


def on_their_way(stores: Stores, reading: Reader, findings: Sequence[Finding]) -> set[Finding]:
    """Which of the missing effects are known to be under way. What comes while we look is seen at the next look."""
    by_hop: dict[Hop, dict[str, Finding]] = defaultdict(dict)
    for finding in findings:
        if finding.hop is not None:
            by_hop[finding.hop][finding.key] = finding
    known: set[Finding] = set()
    for hop, missing in by_hop.items():
        names = reading.names(hop.topic)
        keys = set(_keys(stores, hop.speaker, _UNPUBLISHED, names, missing))
        if hop.hearer is not None:
            keys |= set(_keys(stores, hop.hearer, _HELD, names, missing))
            rest = missing.keys() - keys
            keys |= set(unread_keys(reading, stores, hop.hearer, hop.topic, rest.__contains__)) if rest else set()
        known |= {missing[key] for key in keys}
    return known


_UNPUBLISHED = "SELECT DISTINCT key FROM outbox WHERE topic = ANY(%s) AND key = ANY(%s)"
# Parked, dead, or let go by an operator: then it will never come, and somebody knows.
_HELD = "SELECT DISTINCT key FROM parked WHERE topic = ANY(%s) AND key = ANY(%s) AND state <> 'done'"


def _keys(stores: Stores, room: str, statement: str, names: Sequence[str], keys: dict[str, Finding]) -> list[str]:
    rows = stores.rows(room, statement, [list(names), [key.encode() for key in keys]])
    return [key.decode() for (key,) in rows]
