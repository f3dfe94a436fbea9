"""The faults that are set → kept in the PSPs' books: a restart ends no outage that somebody has set, and no rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from simulator.faults import Faults
from simulator.memory import Memory

_SCHEMA = "CREATE TABLE IF NOT EXISTS faults (psp TEXT PRIMARY KEY, faults TEXT NOT NULL) WITHOUT ROWID"
_PUT = "INSERT INTO faults VALUES (?,?) ON CONFLICT (psp) DO UPDATE SET faults = excluded.faults"


class KeptFaults:
    """The faults of each PSP and provider. `unset` is what they begin with."""

    def __init__(self, memory: Memory, unset: Mapping[str, Faults]) -> None:
        self._memory = memory
        memory.writing.execute(_SCHEMA)
        kept = dict(memory.writing.execute("SELECT psp, faults FROM faults").fetchall())
        self.by_psp = {psp: faults.with_changes(orjson.loads(kept.get(psp, "{}"))) for psp, faults in unset.items()}

    async def change(self, psps: Iterable[str], changes: Mapping[str, object]) -> None:
        """Change the faults of these PSPs, all or none. Errors: FaultsError."""
        changed = {psp: self.by_psp[psp].with_changes(changes) for psp in psps}
        rows = [(psp, orjson.dumps(faults.to_json()).decode()) for psp, faults in changed.items()]
        await self._memory.commit(lambda: self._memory.writing.executemany(_PUT, rows))
        self.by_psp |= changed
