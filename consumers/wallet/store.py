"""The wallet's tables ⇄ wallets, movements, holdings and reservations: locked and read before deciding, saved after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple

from consumers.wallet.decide import Heard, effect_of
from consumers.wallet.holding import Holding, Side
from consumers.wallet.reserving import Moving
from consumers.wallet.wallet import Change, Movement, Purchase, Reservation, Wallet, Wallets
from schemas.corrections import CorrectionApproved, fault_of
from schemas.events import TimerFired, WalletBalance
from schemas.money import Money
from schemas.money_back import Execution
from schemas.payouts import PayoutEvent, PayoutExecuted
from topics import catalog
from topics.runtime.shape.consumer import Connection, Latest, Versions
from topics.runtime.shape.store import LITERALS, text_array
from topics.runtime.shape.table import Column, Table

RELEASED_MAX = 20_000  # holdings of one batch of timers; the rest comes with the same timers, set again

WALLETS = Table(
    "wallets",
    Column("seller_account", "text", key=True),
    Column("currency", "text", key=True),
    Column("available", "int8"),
    Column("pending", "int8"),
    Column("reserved", "int8"),
    Column("version", "int8"),
    Column("opened_at", "timestamptz", by_sql=True),
)
MOVEMENTS = Table(
    "movements",
    Column("movement_id", "uuid", key=True),
    Column("kind", "text"),
    Column("subject_id", "text"),
    Column("part", "text"),
    Column("checkout_id", "text", null=True),
    Column("cause_event_id", "uuid"),
    Column("amount", "int8", "amount.minor"),
    Column("at", "timestamptz"),
    Column("seller_account", "text", "after.seller_account"),
    Column("currency", "text", "after.currency"),
    Column("available_after", "int8", "after.available"),
    Column("pending_after", "int8", "after.pending"),
    Column("reserved_after", "int8", "after.reserved"),
    Column("wallet_version", "int8", "after.version"),
    Column("to_pending", "int8"),
    Column("to_reserved", "int8"),
)
HOLDINGS = Table(
    "holdings",
    Column("movement_id", "uuid", key=True),
    Column("share", "text", key=True),
    Column("seller_account", "text", fixed=True),
    Column("currency", "text", fixed=True),
    Column("payment_order_id", "text", fixed=True),
    Column("remaining", "int8"),
    Column("available_on", "timestamptz", fixed=True),
    Column("released_by", "uuid", null=True),
)
RESERVATIONS = Table(
    "reservations",
    Column("payout_id", "text", key=True),
    Column("owner", "text", fixed=True),
    Column("seller_account", "text", fixed=True),
    Column("currency", "text", fixed=True),
    Column("asked", "int8", null=True, fixed=True),
    Column("minimum", "int8", null=True, fixed=True),
    Column("keep", "int8", null=True, fixed=True),
    Column("amount", "int8", fixed=True),
    Column("state", "text"),
    Column("code", "text", null=True, fixed=True),
    Column("placed_by", "uuid", fixed=True),
    Column("placed_at", "timestamptz", fixed=True),
    Column("moved_by", "uuid"),
    Column("version", "int4"),
)
BUYERS = Table(
    "buyers",
    Column("buyer_account", "text", key=True),
    Column("currency", "text", key=True),
    Column("gross_total", "int8"),
    Column("orders", "int8"),
    Column("refunded_total", "int8"),
)


_WIDTH = len(fields(Wallet))
_MOVED = (
    f"SELECT amount, {MOVEMENTS.select(Wallet, 'after')}, {MOVEMENTS.select(Movement, without=('amount', 'after'))}"
    " FROM movements WHERE subject_id = ANY(%s::text[])"
)


_OPEN = "released_by IS NULL AND remaining > 0"
_OF_ORDERS = f"SELECT {HOLDINGS.select(Holding)} FROM holdings WHERE payment_order_id = ANY(%s::text[]) AND {_OPEN}"
_DUE = f"""
SELECT {HOLDINGS.select(Holding, alias="h")}
FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS t (seller_account, currency, until)
JOIN holdings h ON h.seller_account = t.seller_account AND h.currency = t.currency AND h.available_on <= t.until
WHERE h.released_by IS NULL AND h.remaining > 0
ORDER BY h.seller_account, h.currency, h.available_on, h.movement_id LIMIT %s
"""


_RESERVED = (
    f"SELECT {RESERVATIONS.select(Reservation)} FROM reservations WHERE payout_id = ANY(%s::text[])"
    " ORDER BY payout_id FOR UPDATE"
)


def load(conn: Connection, events: Sequence[Heard], now: datetime) -> Wallets:
    """Read the movements of the batch's orders, lock the wallets, then the reservations, and read the holdings that are debited
    or due.

    The wallets are locked before holdings are read: a timer that read holdings without the lock would miss one that a
    capture adds meanwhile, and its timer row would be gone. A batch of captures reads no holdings: one round trip.
    """
    timers: list[TimerFired] = []
    payouts: list[Moving] = []
    corrections: list[CorrectionApproved] = []
    effects: list[tuple[Execution, Money]] = []
    for event in events:
        if isinstance(event, TimerFired):
            timers.append(event)
        elif isinstance(event, PayoutEvent):
            if isinstance(event, Moving):
                payouts.append(event)
        elif isinstance(event, CorrectionApproved):
            corrections += [] if fault_of(event.movements, event.entries) else [event]  # no wallet is opened for such
        elif (effect := effect_of(event)) is not None:
            effects.append((event, effect.amount))
    sides = {(event.seller_account, amount.currency) for event, amount in effects}
    sides.update(map(_side_of, timers), map(_wallet_of, payouts), *map(_corrected, corrections))
    if not sides:
        return Wallets()
    moved = conn.execute(_MOVED, [text_array(event.payment_order_id for event, _ in effects)]) if effects else ()
    wallets = _lock(conn, sides, now)
    state = Wallets({wallet.side: wallet for wallet in wallets})
    for row in moved:
        state.fold(_as_movement(*row))
    _read_reservations(conn, state, sorted({event.payout_id for event in payouts}))
    _read_corrected(conn, state, [event.correction_id for event in corrections])
    _read_holdings(conn, state, [event.payment_order_id for event, amount in effects if amount.minor < 0], timers)
    return state


def _wallet_of(event: Moving) -> Side:
    currency = event.amount.currency if isinstance(event, PayoutExecuted) else event.currency
    return event.seller_account, currency


def _read_reservations(conn: Connection, state: Wallets, payout_ids: Sequence[str]) -> None:
    """The wallets are locked: what has moved by now is read."""
    if not payout_ids:
        return
    ids = [text_array(payout_ids)]
    for row in conn.execute(_RESERVED, ids):
        state.fold(Reservation(*row))
    for row in conn.execute(_MOVED, ids):
        state.fold(_as_movement(*row))


def _corrected(event: CorrectionApproved) -> list[Side]:
    return [(movement.seller_account, movement.amount.currency) for movement in event.movements]


def _read_corrected(conn: Connection, state: Wallets, correction_ids: Sequence[str]) -> None:
    """What these corrections have moved by now, under the lock of their wallets."""
    if correction_ids:
        for row in conn.execute(_MOVED, [text_array(correction_ids)]):
            state.fold(_as_movement(*row))


def _side_of(timer: TimerFired) -> Side:
    seller_account, _, currency = timer.timer_key.rpartition(":")
    return seller_account, currency


def _read_holdings(conn: Connection, state: Wallets, debited: Sequence[str], timers: Sequence[TimerFired]) -> None:
    """Of orders that are debited all, of timers what is due. The wallets of both are locked."""
    if debited:
        for row in conn.execute(_OF_ORDERS, [text_array(debited)]):
            state.fold(Holding(*row))
    if not timers:
        return
    sides = [_side_of(timer) for timer in timers]
    until = LITERALS["timestamptz"]([timer.due_at for timer in timers])
    due = conn.execute(
        _DUE, [text_array(s for s, _ in sides), text_array(c for _, c in sides), until, RELEASED_MAX + 1]
    ).fetchall()
    for row in due[:RELEASED_MAX]:
        state.fold(Holding(*row))
    if len(due) > RELEASED_MAX:
        read = {Holding(*row).side for row in due[:RELEASED_MAX]} - {Holding(*due[-1]).side}
        state.unread = set(sides) - read


def _as_movement(minor: int, *row: Any) -> Movement:
    after, flat, pockets = Wallet(*row[:_WIDTH]), row[_WIDTH:-2], row[-2:]
    return Movement(*(*flat, Money(minor, after.currency), after, *pockets))


def _lock(conn: Connection, sides: set[Side], now: datetime) -> list[Wallet]:
    """Lock the wallets in sorted order; open those that do not exist."""
    wanted = sorted(sides)
    locked = _lock_known(conn, wanted)
    if len(locked) < len(wanted):
        known = {wallet.side for wallet in locked}
        _open(conn, [side for side in wanted if side not in known], now)
        locked = _lock_known(conn, wanted)
    return locked


_LOCK = (
    f"SELECT {WALLETS.select(Wallet, alias='w')}"
    " FROM unnest(%s::text[], %s::text[]) AS t (seller_account, currency)"
    " JOIN wallets w ON w.seller_account = t.seller_account AND w.currency = t.currency"
    " ORDER BY w.seller_account, w.currency FOR UPDATE OF w"
)


def _lock_known(conn: Connection, sides: Sequence[Side]) -> list[Wallet]:
    rows = conn.execute(_LOCK, [text_array(seller for seller, _ in sides), text_array(code for _, code in sides)])
    return [Wallet(*row) for row in rows]


def _open(conn: Connection, sides: Sequence[Side], now: datetime) -> None:
    conn.execute(
        "INSERT INTO wallets (seller_account, currency, opened_at)"
        " SELECT seller_account, currency, %s FROM unnest(%s::text[], %s::text[]) AS t (seller_account, currency)"
        " ORDER BY 1, 2 ON CONFLICT DO NOTHING",
        [now, [seller for seller, _ in sides], [currency for _, currency in sides]],
    )


_MOVE, _UPDATE, _HOLD, _RESERVE = MOVEMENTS.insert(), WALLETS.update(), HOLDINGS.upsert(), RESERVATIONS.upsert()
_ADD = BUYERS.insert(
    otherwise="ON CONFLICT (buyer_account, currency) DO UPDATE"
    " SET gross_total = buyers.gross_total + excluded.gross_total, orders = buyers.orders + excluded.orders,"
    " refunded_total = buyers.refunded_total + excluded.refunded_total"
)


def save(conn: Connection, changes: Sequence[Change]) -> Versions:
    _MOVE.run(conn, [change for change in changes if type(change) is Movement])
    wallets = _last(changes)
    _UPDATE.run(conn, wallets)
    _HOLD.run(conn, list({holding.key: holding for holding in changes if type(holding) is Holding}.values()))
    _RESERVE.run(conn, list({each.payout_id: each for each in changes if type(each) is Reservation}.values()))
    _ADD.run(conn, _by_buyer([change for change in changes if type(change) is Purchase]))
    return {catalog.WALLET_BALANCES: {wallet.name: wallet.version for wallet in wallets}}


def _last(changes: Iterable[Change]) -> list[Wallet]:
    """Each wallet after its last movement of the batch."""
    return list({wallet.side: wallet for wallet in changes if type(wallet) is Wallet}.values())


class _BuyerTotals(NamedTuple):
    """What one buyer has paid and was refunded in a batch, in minor units."""

    buyer_account: str
    currency: str
    gross_total: int
    orders: int
    refunded_total: int


def _by_buyer(purchases: Sequence[Purchase]) -> list[_BuyerTotals]:
    """The batch's totals by buyer, sorted, so that processes with the same buyers do not deadlock."""
    totals: dict[Side, list[int]] = {}
    for purchase in purchases:
        total = totals.setdefault((purchase.buyer_account, purchase.gross.currency), [0, 0, 0])
        total[0] += purchase.gross.minor
        total[1] += purchase.orders
        total[2] += purchase.refunded
    return [_BuyerTotals(*side, *totals[side]) for side in sorted(totals)]


_READ = (
    f"SELECT {WALLETS.select(Wallet, alias='w')}"
    " FROM unnest(%s::text[], %s::text[]) AS t (seller_account, currency)"
    " JOIN wallets w ON w.seller_account = t.seller_account AND w.currency = t.currency"
)


def latest_balances(conn: Connection, names: Sequence[str]) -> list[Latest]:
    """The wallets with these names as records. A name is <seller>:<currency>."""
    sides = [name.rpartition(":") for name in names]
    rows = conn.execute(
        _READ, [text_array(seller for seller, _, _ in sides), text_array(code for _, _, code in sides)], binary=True
    )
    return [_as_latest(Wallet(*row)) for row in rows]


def _as_latest(wallet: Wallet) -> Latest:
    event = WalletBalance(
        wallet=wallet.name,
        seller_account=wallet.seller_account,
        available=Money(wallet.available, wallet.currency),
        pending=Money(wallet.pending, wallet.currency),
        reserved=Money(wallet.reserved, wallet.currency),
        balance_version=wallet.version,
    )
    return Latest(wallet.name, wallet.version, event)
