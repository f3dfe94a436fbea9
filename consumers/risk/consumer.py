"""screenings of payments and pay-outs, operators' reviews → risk → risk decisions"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from consumers.risk import store
from consumers.risk.decide import Heard, decide
from consumers.risk.holders import Holders
from consumers.risk.names import NameList, read_lists
from consumers.risk.rescreening import Rescreening
from consumers.risk.settings import RiskSettings
from consumers.risk.state import Screenings
from consumers.risk.watchlist import Watchlist
from topics.catalog import RISK_ROOM
from topics.runtime.shape.consumer import Connection, Consumer
from topics.runtime.shape.store import Store


def build(settings: RiskSettings) -> Consumer[Screenings, Heard]:
    """Reads the list files, so that a wrong setting stops the start; does not connect to the database yet."""
    watchlist = Watchlist(settings)
    screen = _LoadWithLists(settings, read_lists(settings.risk_lists), watchlist)
    save = partial(store.save, sealer=watchlist.sealer)
    again = Rescreening(watchlist)
    return Consumer(RISK_ROOM, load=screen, decide=partial(decide, limits=settings.risk), save=save, sum_up=again)


class _LoadWithLists:
    """`store.load`, which stores this process's lists before the first batch."""

    def __init__(self, settings: RiskSettings, lists: Sequence[NameList], watchlist: Watchlist) -> None:
        self._settings = settings
        self._watchlist = watchlist
        self._holders = Holders(settings)
        self._lists: Sequence[NameList] | None = lists
        self._limit = settings.risk.buyer_checkouts_per_hour_max

    def __call__(self, conn: Connection, events: Sequence[Heard], now: datetime) -> Screenings:
        if self._lists is not None:
            self._insert_lists(self._lists)
            self._lists = None
        return store.load(conn, events, now, self._limit, self._watchlist, self._holders)

    def _insert_lists(self, lists: Sequence[NameList]) -> None:
        """In a transaction of its own: a batch's rollback must not remove the lists."""
        own = Store(self._settings, RISK_ROOM.name)
        try:
            with own.transaction() as conn:
                store.load_lists(conn, lists)
        finally:
            own.close()
