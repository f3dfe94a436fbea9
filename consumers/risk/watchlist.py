"""The current sanctions lists, indexed in memory; a name as it was written → the entries that it is near, remembered."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple

import structlog

from consumers.risk.entries import Entry
from consumers.risk.matching import Hit, NameIndex
from topics.runtime.shape.consumer import Connection
from topics.sealing import Broken, Sealer
from topics.settings import Settings

log = structlog.get_logger()

REMEMBERED = 100_000  # names, after which all are forgotten


class _Indexed(NamedTuple):
    labels: tuple[str, ...]
    names: NameIndex
    near: dict[str, tuple[Hit, ...]]


_ENTRIES = (
    "SELECT l.name, l.version, e.entry_id, e.names, e.births, e.countries, e.programmes, e.content FROM lists l"
    " LEFT JOIN list_entries e ON e.list_name = l.name AND e.until_no IS NULL"
    " WHERE l.current AND l.source = 'import' ORDER BY l.name"
)


class Watchlist:
    """One for a process: its batches and its upkeep share it."""

    def __init__(self, settings: Settings) -> None:
        self._indexed = _Indexed((), NameIndex(()), {})
        self._following = threading.Lock()
        self._party_key = bytes.fromhex(settings.derive("risk:parties"))
        self.sealer = Sealer(bytes.fromhex(settings.derive("risk:names")))

    @property
    def labels(self) -> tuple[str, ...]:
        """`<list>@<version>` of the lists that are indexed."""
        return self._indexed.labels

    def follow(self, conn: Connection, labels: Sequence[str]) -> None:
        """Index these lists where others were: about a second for 20,000 entries, once for a new version."""
        with self._following:
            if self.labels == tuple(labels):
                return
            found: dict[str, None] = {}
            entries = []
            for name, version, entry_id, names, births, countries, programmes, content in conn.execute(_ENTRIES):
                found[label(name, version)] = None
                if entry_id is not None:
                    births_, countries_, programmes_ = tuple(births), tuple(countries), tuple(programmes)
                    entries.append(Entry(name, entry_id, tuple(names), births_, countries_, programmes_, content))
            self._indexed = _Indexed(tuple(found), NameIndex(entries), {})

    def near(self, name: str) -> tuple[Hit, ...]:
        """The nearest first."""
        _, names, near = self._indexed
        hits = near.get(name)
        if hits is None:
            if len(near) >= REMEMBERED:
                near.clear()
            hits = near[name] = tuple(names.near(name))
        return hits

    def opened(self, party: str, sealed: bytes) -> str | None:
        """A party's stored name. None where the installation's secret was changed: then it is met no more under this hash."""
        try:
            return self.sealer.open(bytes(sealed), party)
        except Broken as broken:
            log.warning("a name cannot be opened", action="screen", error=str(broken))
            return None

    def party(self, about: Literal["buyer", "seller"], account: str, name: str) -> str:
        """Who was screened: an account under one name, as a hash that cannot be guessed from them."""
        said = f"{about} {len(account)} {account} {name}".encode()
        return blake2b(said, key=self._party_key, digest_size=16).hexdigest()


def label(list_name: str, version: str) -> str:
    return f"{list_name}@{version[:12]}"
